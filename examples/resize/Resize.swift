// The resize that a bundle's manifest states, in plain Swift. The values are Pillow's, columns first.
//
//     let framing = Framing(height: 224, width: 224, filter: .bicubic)     // of manifest.json, preprocessing
//     let input = resize(rgb, height: h, width: w, to: framing)
//
// Pixels are RGB, row by row, already turned upright as EXIF asks.

enum Filter { case bilinear, bicubic }

enum Fit { case stretch, crop, letterbox }

struct Framing {
    var height: Int
    var width: Int
    var filter = Filter.bilinear
    var fit = Fit.stretch
    /// Of `crop`.
    var scale = 1.0
    /// Of `letterbox`, RGB.
    var fill: [UInt8] = [0, 0, 0]
}

private let bits: Int32 = 22 // of a weight's fraction

private func kernel(_ filter: Filter, _ distance: Double) -> Double {
    let x = abs(distance)
    if filter == .bilinear { return x < 1 ? 1 - x : 0 }
    if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
}

/// What one place of the result takes from the source along one axis: `weights` of the pixels from `first` on.
private struct Share {
    let first: Int
    let weights: [Int32]
}

private func shares(_ stored: Int, _ wanted: Int, _ filter: Filter) -> [Share] {
    let step = Double(stored) / Double(wanted)
    let stretch = max(step, 1.0) // the filter widens with the reduction: this is the antialiasing
    let reach = (filter == .bilinear ? 1.0 : 2.0) * stretch
    return (0..<wanted).map { at in
        let centre = (Double(at) + 0.5) * step
        let first = max(0, Int(centre - reach + 0.5))
        let end = min(stored, Int(centre + reach + 0.5))
        let exact = (first..<end).map { kernel(filter, (Double($0) - centre + 0.5) * (1.0 / stretch)) }
        let sum = exact.reduce(0.0, +)
        let weights = exact.map { weight -> Int32 in
            let fixed = (sum != 0 ? weight / sum : weight) * Double(1 << bits)
            return Int32(fixed < 0 ? fixed - 0.5 : fixed + 0.5)
        }
        return Share(first: first, weights: weights)
    }
}

private func rounded(_ sum: Int32) -> UInt8 { UInt8(max(0, min(255, sum >> bits))) }

/// Resize without regard to the aspect: columns first, rounded to 8 bits, then rows.
private func stretched(_ rgb: [UInt8], _ h: Int, _ w: Int, _ height: Int, _ width: Int, _ filter: Filter) -> [UInt8] {
    let across = shares(w, width, filter)
    let down = shares(h, height, filter)
    var wide = [UInt8](repeating: 0, count: h * width * 3)
    for y in 0..<h {
        for x in 0..<width {
            for c in 0..<3 {
                var sum: Int32 = 1 << (bits - 1)
                var from = (y * w + across[x].first) * 3 + c
                for weight in across[x].weights {
                    sum += weight * Int32(rgb[from])
                    from += 3
                }
                wide[(y * width + x) * 3 + c] = rounded(sum)
            }
        }
    }
    let row = width * 3
    var out = [UInt8](repeating: 0, count: height * row)
    for y in 0..<height {
        for x in 0..<row {
            var sum: Int32 = 1 << (bits - 1)
            var from = down[y].first * row + x
            for weight in down[y].weights {
                sum += weight * Int32(wide[from])
                from += row
            }
            out[y * row + x] = rounded(sum)
        }
    }
    return out
}

private func halfToEven(_ value: Double) -> Int { Int(value.rounded(.toNearestOrEven)) }

/// Bring an upright RGB picture of h x w pixels to the encoder's input: height x width x 3 values, row by row.
func resize(_ rgb: [UInt8], height h: Int, width w: Int, to framing: Framing) -> [UInt8] {
    precondition(h > 0 && w > 0 && framing.height > 0 && framing.width > 0, "a side has no pixel")
    precondition(rgb.count == h * w * 3, "\(rgb.count) bytes are not \(h) x \(w) pixels in RGB")
    let (height, width) = (framing.height, framing.width)
    var (tall, wide) = (height, width) // to which the whole picture is resized
    switch framing.fit {
    case .stretch:
        break
    case .crop:
        tall = Int((Double(height) / framing.scale).rounded(.down))
        wide = Int((Double(width) / framing.scale).rounded(.down))
        if tall * w >= wide * h {
            wide = max(wide, Int(Double(tall * w) / Double(h)))
        } else {
            tall = max(tall, Int(Double(wide * h) / Double(w)))
        }
    case .letterbox:
        if Double(w) / Double(h) > Double(width) / Double(height) {
            tall = max(1, halfToEven(Double(h) / Double(w) * Double(width)))
        } else {
            wide = max(1, halfToEven(Double(w) / Double(h) * Double(height)))
        }
    }
    precondition(max(h, tall) * wide <= 89_478_485, "too narrow a strip to be cropped: \(h) x \(w)")
    let scaled = stretched(rgb, h, w, tall, wide, framing.filter)
    if tall == height && wide == width { return scaled }
    let top = halfToEven(Double(height - tall) / 2)
    let left = halfToEven(Double(width - wide) / 2)
    var out = [UInt8](repeating: 0, count: height * width * 3)
    for y in 0..<height {
        for x in 0..<width {
            let (fromY, fromX) = (y - top, x - left)
            let inside = fromY >= 0 && fromY < tall && fromX >= 0 && fromX < wide
            for c in 0..<3 {
                out[(y * width + x) * 3 + c] = inside ? scaled[(fromY * wide + fromX) * 3 + c] : framing.fill[c]
            }
        }
    }
    return out
}
