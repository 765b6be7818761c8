/// Embeddings of length 1 that the server made.
struct Gallery {
    /// Of the encoder that made them.
    let spaceId: String
    let embeddings: [[Float]]

    /// The items that are nearest to a query of a bundle, each with its cosine.
    func nearest(_ query: [Float], of bundle: EncoderBundle, count: Int) throws -> [(item: Int, cosine: Float)] {
        guard bundle.manifest.spaceId == spaceId else {
            throw BundleError("the gallery is of space \(spaceId), the bundle of \(bundle.manifest.spaceId)")
        }
        guard embeddings.allSatisfy({ $0.count == query.count }) else {
            throw BundleError("the gallery's embeddings are not of \(query.count) numbers each, as the query is")
        }
        let scored = embeddings.enumerated().map { item, embedding in
            (item: item, cosine: zip(query, embedding).reduce(Float(0)) { $0 + $1.0 * $1.1 })
        }
        return Array(scored.sorted { $0.cosine > $1.cosine }.prefix(count))
    }
}
