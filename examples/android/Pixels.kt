package ai.prunnet

import android.graphics.Bitmap

/** Values of the artifact's input, from an upright picture of any size. */
fun inputValues(picture: Bitmap, bundle: Bundle): FloatArray {
    // getPixels gives sRGB: of other colours it would change the values, which the server takes as they are stored.
    require(picture.colorSpace?.isSrgb != false) { "the picture's colour space is ${picture.colorSpace?.name}, not sRGB" }
    val argb = IntArray(picture.width * picture.height)
    picture.getPixels(argb, 0, picture.width, 0, 0, picture.width, picture.height)
    val input = resize(rgbBytes(argb), picture.height, picture.width, bundle.framing)
    return inputValues(input, bundle.layout)
}

/** Red, green and blue of pixels as `Bitmap.getPixels` gives them. */
fun rgbBytes(argb: IntArray): ByteArray {
    val rgb = ByteArray(3 * argb.size)
    for ((place, pixel) in argb.withIndex()) {
        require(pixel ushr 24 == 255) { "the picture is transparent: draw it on white first" }
        for (channel in 0..2) {
            val level = (pixel shr (16 - 8 * channel)) and 0xFF
            rgb[3 * place + channel] = level.toByte()
        }
    }
    return rgb
}

/**
 * Values in the order of the artifact's input, 0..255: the encoder normalises them itself.
 *
 * @param rgb of the input's size, row by row.
 * @param layout "NHWC": the three values of a pixel side by side. "NCHW": all reds, then all greens, then all blues.
 */
fun inputValues(rgb: ByteArray, layout: String): FloatArray {
    val interleaved = layout == "NHWC"
    val pixels = rgb.size / 3
    val values = FloatArray(rgb.size)
    for (place in 0 until pixels) {
        for (channel in 0..2) {
            val index = if (interleaved) 3 * place + channel else channel * pixels + place
            values[index] = (rgb[3 * place + channel].toInt() and 0xFF).toFloat()
        }
    }
    return values
}
