// Resizes pictures from standard input, for tests: as main.cpp does.
package ai.prunnet

import java.io.DataInputStream

fun main() {
    val input = DataInputStream(System.`in`.buffered())
    while (true) {
        val line = StringBuilder()
        var byte = input.read()
        while (byte >= 0 && byte != '\n'.code) {
            line.append(byte.toChar())
            byte = input.read()
        }
        if (line.isEmpty()) break
        val (h, w, height, width, filter) = line.split(" ")
        val (fit, scale, r, g, b) = line.split(" ").drop(5)
        val rgb = ByteArray(h.toInt() * w.toInt() * 3)
        input.readFully(rgb)
        val framing = Framing(
            height.toInt(),
            width.toInt(),
            Filter.valueOf(filter.uppercase()),
            Fit.valueOf(fit.uppercase()),
            scale.toDouble(),
            intArrayOf(r.toInt(), g.toInt(), b.toInt()),
        )
        System.out.write(resize(rgb, h.toInt(), w.toInt(), framing))
    }
    System.out.flush()
}
