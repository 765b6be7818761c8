/**
 * The resize that a bundle's manifest states, in plain Kotlin. The values are Pillow's, columns first.
 *
 *     val framing = Framing(224, 224, Filter.BICUBIC)     // of manifest.json, preprocessing
 *     val input = resize(rgb, height, width, framing)
 *
 * Pixels are RGB, row by row, already turned upright as EXIF asks.
 */
package ai.prunnet

import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

enum class Filter { BILINEAR, BICUBIC }

enum class Fit { STRETCH, CROP, LETTERBOX }

class Framing(
    val height: Int,
    val width: Int,
    val filter: Filter = Filter.BILINEAR,
    val fit: Fit = Fit.STRETCH,
    /** Of CROP. */
    val scale: Double = 1.0,
    /** Of LETTERBOX, RGB. */
    val fill: IntArray = intArrayOf(0, 0, 0),
)

private const val LARGEST = 89_478_485.0 // pixels that a picture may have on its way
private const val BITS = 22 // of a weight's fraction

private fun kernel(filter: Filter, distance: Double): Double {
    val x = abs(distance)
    if (filter == Filter.BILINEAR) return if (x < 1) 1 - x else 0.0
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1
    return if (x < 2) (((x - 5) * x + 8) * x - 4) * -0.5 else 0.0
}

/** What one place of the result takes from the source along one axis: `weights` of the pixels from `first` on. */
private class Share(val first: Int, val weights: IntArray)

private fun shares(stored: Int, wanted: Int, filter: Filter): Array<Share> {
    val step = stored.toDouble() / wanted
    val stretch = max(step, 1.0) // the filter widens with the reduction: this is the antialiasing
    val reach = (if (filter == Filter.BILINEAR) 1.0 else 2.0) * stretch
    return Array(wanted) { at ->
        val centre = (at + 0.5) * step
        val first = max(0, (centre - reach + 0.5).toInt())
        val end = min(stored, (centre + reach + 0.5).toInt())
        val exact = DoubleArray(end - first) { kernel(filter, (it + first - centre + 0.5) * (1.0 / stretch)) }
        var sum = 0.0
        for (weight in exact) sum += weight
        Share(first, IntArray(exact.size) {
            val fixed = (if (sum != 0.0) exact[it] / sum else exact[it]) * (1 shl BITS)
            (if (fixed < 0) fixed - 0.5 else fixed + 0.5).toInt()
        })
    }
}

private fun rounded(sum: Int): Byte = (sum shr BITS).coerceIn(0, 255).toByte()

/** Resize without regard to the aspect: columns first, rounded to 8 bits, then rows. */
private fun stretched(rgb: ByteArray, h: Int, w: Int, height: Int, width: Int, filter: Filter): ByteArray {
    val across = shares(w, width, filter)
    val down = shares(h, height, filter)
    val wide = ByteArray(h * width * 3)
    for (y in 0 until h) for (x in 0 until width) for (c in 0 until 3) {
        var sum = 1 shl (BITS - 1)
        var from = (y * w + across[x].first) * 3 + c
        for (weight in across[x].weights) {
            sum += weight * (rgb[from].toInt() and 255)
            from += 3
        }
        wide[(y * width + x) * 3 + c] = rounded(sum)
    }
    val row = width * 3
    val out = ByteArray(height * row)
    for (y in 0 until height) for (x in 0 until row) {
        var sum = 1 shl (BITS - 1)
        var from = down[y].first * row + x
        for (weight in down[y].weights) {
            sum += weight * (wide[from].toInt() and 255)
            from += row
        }
        out[y * row + x] = rounded(sum)
    }
    return out
}

private fun halfToEven(value: Double): Int = Math.rint(value).toInt()

/** Bring an upright RGB picture of h x w pixels to the encoder's input: height x width x 3 values, row by row. */
fun resize(rgb: ByteArray, h: Int, w: Int, framing: Framing): ByteArray {
    require(h > 0 && w > 0 && framing.height > 0 && framing.width > 0) { "a side has no pixel" }
    require(rgb.size == h * w * 3) { "${rgb.size} bytes are not $h x $w pixels in RGB" }
    val height = framing.height
    val width = framing.width
    var tall = height // to which the whole picture is resized
    var wide = width
    if (framing.fit == Fit.CROP) {
        tall = floor(height / framing.scale).toInt()
        wide = floor(width / framing.scale).toInt()
        val across = floor((tall.toLong() * w).toDouble() / h)
        val down = floor((wide.toLong() * h).toDouble() / w)
        val low = tall.toLong() * w >= wide.toLong() * h
        val pixels = if (low) max(h, tall) * across else max(h.toDouble(), down) * wide
        require(pixels <= LARGEST) { "too narrow a strip to be cropped: $h x $w" }
        if (low) wide = max(wide, across.toInt()) else tall = max(tall, down.toInt())
    } else if (framing.fit == Fit.LETTERBOX) {
        if (w.toDouble() / h > width.toDouble() / height) {
            tall = max(1, halfToEven(h.toDouble() / w * width))
        } else {
            wide = max(1, halfToEven(w.toDouble() / h * height))
        }
    }
    val scaled = stretched(rgb, h, w, tall, wide, framing.filter)
    if (tall == height && wide == width) return scaled
    val top = halfToEven((height - tall) / 2.0)
    val left = halfToEven((width - wide) / 2.0)
    val out = ByteArray(height * width * 3)
    for (y in 0 until height) for (x in 0 until width) for (c in 0 until 3) {
        val fromY = y - top
        val fromX = x - left
        val inside = fromY in 0 until tall && fromX in 0 until wide
        out[(y * width + x) * 3 + c] = if (inside) scaled[(fromY * wide + fromX) * 3 + c] else framing.fill[c].toByte()
    }
    return out
}
