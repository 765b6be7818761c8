import Foundation

/// Which layout `manifest.json` has. The others are read from version 4 on: older ones do not state the resize.
struct Version: Decodable {
    let schemaVersion: Int
}

/// What an app reads of `manifest.json`.
struct Manifest: Decodable {
    let target: String
    let artifact: String
    let spaceId: String
    let input: Tensor
    let output: Tensor
    let preprocessing: Preprocessing
    /// Absent before version 5.
    let resizeInside: Bool?
}

struct Tensor: Decodable {
    let name: String
    let shape: [Int]
    let layout: String
}

struct Preprocessing: Decodable {
    let height: Int
    let width: Int
    let color: String
    let resize: Resizing
}

struct Resizing: Decodable {
    let filter: String
    let antialias: Bool
    let fit: String
    let scale: Double
    let fill: [UInt8]
}

struct BundleError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// A folder that `prunnet-export` wrote for Core ML.
struct EncoderBundle {
    let manifest: Manifest
    let artifact: URL
    /// How the server resizes.
    let framing: Framing
    var dimension: Int { manifest.output.shape[1] }

    init(_ folder: URL) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let content = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
        guard try decoder.decode(Version.self, from: content).schemaVersion >= 4 else {
            throw BundleError("the manifest does not state the resize: export the bundle again")
        }
        manifest = try decoder.decode(Manifest.self, from: content)
        guard manifest.resizeInside != true else {
            throw BundleError("the artifact resizes by itself (raw_input): this example resizes for it")
        }
        artifact = folder.appendingPathComponent(manifest.artifact)
        guard manifest.target == "coreml", manifest.input.layout == "image", manifest.preprocessing.color == "RGB" else {
            throw BundleError("the artifact for \(manifest.target) does not take an RGB image")
        }
        let stated = manifest.preprocessing.resize
        guard stated.antialias else {
            throw BundleError("Resize.swift always averages, and this encoder's server does not")
        }
        let filters: [String: Filter] = ["bilinear": .bilinear, "bicubic": .bicubic]
        let fits: [String: Fit] = ["stretch": .stretch, "crop": .crop, "letterbox": .letterbox]
        guard let filter = filters[stated.filter], let fit = fits[stated.fit] else {
            throw BundleError("Resize.swift knows no \(stated.filter) with \(stated.fit)")
        }
        framing = Framing(
            height: manifest.preprocessing.height, width: manifest.preprocessing.width,
            filter: filter, fit: fit, scale: stated.scale, fill: stated.fill)
    }
}
