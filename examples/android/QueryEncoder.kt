package ai.prunnet

import com.google.ai.edge.litert.CompiledModel
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** Picture to embedding of length 1. Threads may share one: they take turns. */
interface QueryEncoder : AutoCloseable {
    /** @param values of [inputValues]. */
    fun embed(values: FloatArray): FloatArray
}

/** Opens a bundle with the runtime that it was exported for; an app needs only one of the two. */
fun openEncoder(bundle: Bundle): QueryEncoder =
    when (bundle.target) {
        "tflite" -> LiteRtEncoder(bundle)
        "executorch" -> ExecuTorchEncoder(bundle)
        else -> throw IllegalArgumentException("no runtime here for ${bundle.target}")
    }

/** A TFLite bundle on LiteRT's CPU. Other accelerators round: measure drift there before you ship one. */
class LiteRtEncoder(bundle: Bundle) : QueryEncoder {
    private val model = CompiledModel.create(bundle.artifact.path, CompiledModel.Options.CPU)
    private val inputs = mapOf(bundle.inputName to model.createInputBuffer(bundle.inputName, SIGNATURE))
    private val outputs = mapOf(bundle.outputName to model.createOutputBuffer(bundle.outputName, SIGNATURE))

    @Synchronized
    override fun embed(values: FloatArray): FloatArray {
        inputs.values.single().writeFloat(values)
        model.run(inputs, outputs, SIGNATURE)
        return outputs.values.single().readFloat()
    }

    override fun close() {
        (inputs.values + outputs.values).forEach { it.close() }
        model.close()
    }

    private companion object {
        const val SIGNATURE = "serving_default"
    }
}

/** An ExecuTorch bundle on XNNPACK. */
class ExecuTorchEncoder(bundle: Bundle) : QueryEncoder {
    private val module = Module.load(bundle.artifact.path)
    private val shape = bundle.inputShape.map { it.toLong() }.toLongArray()

    init {
        val inside = module.execute("get_space_id")[0].toStr()
        require(inside == bundle.spaceId) { "the program is of space $inside, its manifest of ${bundle.spaceId}" }
    }

    @Synchronized
    override fun embed(values: FloatArray): FloatArray =
        module.forward(EValue.from(Tensor.fromBlob(values, shape)))[0].toTensor().dataAsFloatArray

    override fun close() = module.destroy()
}
