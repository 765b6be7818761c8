package com.example.prunnet

import android.graphics.Bitmap

/** Values of the artifact's input, from a picture that already has the bundle's size. */
fun inputValues(picture: Bitmap, bundle: Bundle): FloatArray {
    require(picture.width == bundle.width && picture.height == bundle.height) {
        "the picture is ${picture.width} x ${picture.height}, the encoder takes ${bundle.width} x ${bundle.height}"
    }
    val argb = IntArray(picture.width * picture.height)
    picture.getPixels(argb, 0, picture.width, 0, 0, picture.width, picture.height)
    return inputValues(argb, bundle.layout)
}

/**
 * Red, green and blue, 0..255, in the order of the artifact's input. The encoder normalises them itself.
 *
 * @param argb pixels as `Bitmap.getPixels` gives them, row by row.
 * @param layout "NHWC": the three values of a pixel side by side. "NCHW": all reds, then all greens, then all blues.
 */
fun inputValues(argb: IntArray, layout: String): FloatArray {
    val interleaved = layout == "NHWC"
    val values = FloatArray(3 * argb.size)
    for ((place, pixel) in argb.withIndex()) {
        require(pixel ushr 24 == 255) { "the picture is transparent: draw it on white first" }
        for (channel in 0..2) {
            val level = (pixel shr (16 - 8 * channel)) and 0xFF
            val index = if (interleaved) 3 * place + channel else channel * argb.size + place
            values[index] = level.toFloat()
        }
    }
    return values
}
