/// Red, green and blue of a picture whose rows hold `red, green, blue, unused` bytes, as a `CGContext` draws them.
func rgbBytes(_ rgbx: [UInt8]) -> [UInt8] {
    var rgb = [UInt8](repeating: 0, count: rgbx.count / 4 * 3)
    for place in 0..<(rgbx.count / 4) {
        for channel in 0..<3 {
            rgb[3 * place + channel] = rgbx[4 * place + channel]
        }
    }
    return rgb
}

/// The same as `blue, green, red, alpha`: how a `CVPixelBuffer` of format 32BGRA holds it. Core ML hands the model RGB.
func bgraBytes(_ rgb: [UInt8]) -> [UInt8] {
    var bgra = [UInt8](repeating: 255, count: rgb.count / 3 * 4)
    for place in 0..<(rgb.count / 3) {
        for channel in 0..<3 {
            bgra[4 * place + 2 - channel] = rgb[3 * place + channel]
        }
    }
    return bgra
}
