import CoreGraphics
import CoreML
import CoreVideo
import Foundation

/// Picture to embedding of length 1. Threads may share one: Core ML promises no more than one prediction of a model at a
/// time, so they wait for each other.
final class QueryEncoder {
    private let bundle: EncoderBundle
    private let model: MLModel
    private let turn = NSLock()

    /// Compiles the package on the device; keep the result, or let Xcode compile it into your app.
    init(_ bundle: EncoderBundle) throws {
        self.bundle = bundle
        model = try MLModel(contentsOf: MLModel.compileModel(at: bundle.artifact))
        let stated = model.modelDescription.metadata[.creatorDefinedKey] as? [String: String] ?? [:]
        guard stated["prunnet.space_id"] == bundle.manifest.spaceId else {
            throw BundleError("\(bundle.artifact.lastPathComponent) is not the manifest's: copy the bundle again")
        }
    }

    /// Embeds an upright, opaque picture of any size; it is resized as on the server.
    func embed(_ picture: CGImage) throws -> [Float] {
        guard [.none, .noneSkipFirst, .noneSkipLast].contains(picture.alphaInfo) else {
            throw BundleError("the picture may be transparent: draw it on white first, as the server does")
        }
        let rgb = resize(
            rgbBytes(try drawn(picture)), height: picture.height, width: picture.width, to: bundle.framing)
        let pixels = try pixelBuffer(bgraBytes(rgb), height: bundle.framing.height, width: bundle.framing.width)
        let name = bundle.manifest.input.name
        let input = try MLDictionaryFeatureProvider(dictionary: [name: MLFeatureValue(pixelBuffer: pixels)])
        turn.lock()
        defer { turn.unlock() }
        let output = try model.prediction(from: input).featureValue(for: bundle.manifest.output.name)
        guard let embedding = output?.multiArrayValue, embedding.count == bundle.dimension else {
            throw BundleError("the model gives no \(bundle.manifest.output.name) of \(bundle.dimension) values")
        }
        return (0..<embedding.count).map { embedding[$0].floatValue }
    }
}

/// Draws a picture in its own colour space, so that its values stay as they are stored.
private func drawn(_ picture: CGImage) throws -> [UInt8] {
    var rgbx = [UInt8](repeating: 0, count: picture.width * picture.height * 4)
    let own = picture.colorSpace.flatMap { $0.model == .rgb ? $0 : nil }
    let done = rgbx.withUnsafeMutableBytes { memory -> Bool in
        let context = CGContext(
            data: memory.baseAddress, width: picture.width, height: picture.height, bitsPerComponent: 8,
            bytesPerRow: 4 * picture.width, space: own ?? CGColorSpaceCreateDeviceRGB(),
            bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        context?.draw(picture, in: CGRect(x: 0, y: 0, width: picture.width, height: picture.height))
        return context != nil
    }
    guard done else { throw BundleError("a picture in its colour space cannot be drawn: convert it to sRGB") }
    return rgbx
}

private func pixelBuffer(_ bgra: [UInt8], height: Int, width: Int) throws -> CVPixelBuffer {
    var made: CVPixelBuffer?
    CVPixelBufferCreate(kCFAllocatorDefault, width, height, kCVPixelFormatType_32BGRA, nil, &made)
    guard let buffer = made else { throw BundleError("no memory for \(width) x \(height) pixels") }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let start = CVPixelBufferGetBaseAddress(buffer) else { throw BundleError("the pixels have no address") }
    bgra.withUnsafeBytes { bytes in
        for row in 0..<height {  // rows of a buffer may be longer than the picture's
            let target = start + row * CVPixelBufferGetBytesPerRow(buffer)
            target.copyMemory(from: bytes.baseAddress! + 4 * width * row, byteCount: 4 * width)
        }
    }
    return buffer
}
