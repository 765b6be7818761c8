package ai.prunnet

import java.io.File
import java.security.DigestInputStream
import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONObject

/**
 * A bundle that `prunnet-export` wrote: its artifact, and what an app must know of it.
 *
 * @param folder with `manifest.json`, in the app's files: assets of an APK have no path.
 * @throws IllegalArgumentException if the artifact is not what was exported, or takes what [inputValues] does not make.
 */
class Bundle(folder: File) {
    private val manifest = JSONObject(File(folder, "manifest.json").readText())

    /** "tflite" or "executorch". */
    val target = text("target")
    val artifact = File(folder, text("artifact"))

    /** Fingerprint of the embedding space: a gallery must have the same. */
    val spaceId = text("space_id")
    val inputName = text("input.name")
    val outputName = text("output.name")

    /** Batch 1; "NHWC" for TFLite, "NCHW" for ExecuTorch. */
    val inputShape = list("input.shape")
    val layout = text("input.layout")
    val dimension = list("output.shape")[1]

    /** How the server resizes. */
    val framing: Framing

    init {
        require(number("schema_version") >= 4) { "the manifest does not state the resize: export the bundle again" }
        require(!manifest.optBoolean("resize_inside")) { "the artifact resizes by itself (raw_input): this example resizes for it" }
        require(flag("preprocessing.resize.antialias")) { "Resize.kt always averages, and this encoder's server does not" }
        framing = Framing(
            number("preprocessing.height"),
            number("preprocessing.width"),
            Filter.valueOf(text("preprocessing.resize.filter").uppercase()),
            Fit.valueOf(text("preprocessing.resize.fit").uppercase()),
            real("preprocessing.resize.scale"),
            list("preprocessing.resize.fill").toIntArray(),
        )
        require(value("files").let { it as JSONObject }.getString(artifact.name) == sha256(artifact)) {
            "$artifact is not what was exported: copy the bundle again"
        }
        require(text("input.dtype") == "float32" && list("input.value_range") == listOf(0, 255)) {
            "the artifact does not take float32 values in 0..255"
        }
        require(layout == "NHWC" || layout == "NCHW") { "the artifact takes a $layout, not a tensor" }
        require(text("preprocessing.color") == "RGB") { "the artifact does not take RGB" }
    }

    private fun value(path: String): Any =
        path.split(".").fold(manifest as Any) { part, key -> (part as JSONObject).get(key) }

    private fun text(path: String) = value(path) as String

    private fun flag(path: String) = value(path) as Boolean

    private fun number(path: String) = (value(path) as Number).toInt()

    private fun real(path: String) = (value(path) as Number).toDouble()

    private fun list(path: String) = (value(path) as JSONArray).let { all -> List(all.length()) { all.getInt(it) } }
}

private fun sha256(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    DigestInputStream(file.inputStream().buffered(), digest).use { stream ->
        val buffer = ByteArray(65536)
        while (stream.read(buffer) >= 0) Unit
    }
    return digest.digest().joinToString("") { "%02x".format(it) }
}
