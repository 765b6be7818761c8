package ai.prunnet

/**
 * Embeddings that the server made, one after the other.
 *
 * @param spaceId of the encoder that made them.
 * @param embeddings of length 1, [dimension] values each.
 */
class Gallery(private val spaceId: String, private val dimension: Int, private val embeddings: FloatArray) {
    /** The [count] items that are nearest to a query of [bundle], each with its cosine. */
    fun nearest(query: FloatArray, bundle: Bundle, count: Int): List<Pair<Int, Float>> {
        require(bundle.spaceId == spaceId) { "the gallery is of space $spaceId, the bundle of ${bundle.spaceId}" }
        require(query.size == dimension) { "the query has ${query.size} values, the gallery's have $dimension" }
        return List(embeddings.size / dimension) { item -> item to cosine(query, item) }
            .sortedByDescending { it.second }
            .take(count)
    }

    private fun cosine(query: FloatArray, item: Int): Float {
        var sum = 0f
        for (index in query.indices) sum += query[index] * embeddings[item * dimension + index]
        return sum
    }
}
