// Runs one ExecuTorch program for `runtime_py.backends.executorch_runner`; no torch, no Python.
//
//   prunnet_runner PROGRAM.pte
//
// It writes "ready" and waits for a line, so that its memory can be read before the program is loaded. Then it loads
// the program and writes one line of JSON: the tensors of `forward` and the identity, or {"error": ...} and ends.
// After that: as many bytes in as the input has, as many out as the output has, until the end of standard input.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#ifndef PRUNNET_EXECUTORCH_VERSION
#error "state the version of ExecuTorch"
#endif

using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::Program;
using executorch::runtime::TensorInfo;

namespace {

const char* const kIdentity = "prunnet_identity";

int fail(FILE* answers, const std::string& what, Error error) {
  std::fprintf(answers, "{\"error\": \"%s (error 0x%x)\"}\n", what.c_str(), static_cast<unsigned>(error));
  std::fflush(answers);
  return 3;
}

std::string describe(const TensorInfo& tensor) {
  std::string text = "{\"dtype\": " + std::to_string(static_cast<int>(tensor.scalar_type())) + ", \"shape\": [";
  const char* comma = "";
  for (auto size : tensor.sizes()) {
    text += comma + std::to_string(size);
    comma = ", ";
  }
  return text + "]}";
}

std::string hex(const uint8_t* bytes, size_t count) {
  std::string text;
  char digits[3];
  for (size_t i = 0; i < count; ++i) {
    std::snprintf(digits, sizeof digits, "%02x", bytes[i]);
    text += digits;
  }
  return text;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: prunnet_runner PROGRAM.pte\n");
    return 2;
  }
  // What a library prints on standard output goes to standard error.
  FILE* answers = fdopen(dup(1), "wb");
  dup2(2, 1);
  std::fputs("ready\n", answers);
  std::fflush(answers);
  for (int character = std::getchar(); character != '\n'; character = std::getchar()) {
    if (character == EOF) return 0;
  }

  Module module(arguments[1], Module::LoadMode::Mmap);
  Error error = module.load(Program::Verification::InternalConsistency);
  if (error != Error::Ok) return fail(answers, "ExecuTorch does not open it", error);
  auto names = module.method_names();
  if (!names.ok()) return fail(answers, "ExecuTorch does not list its methods", names.error());
  for (const char* name : {"forward", kIdentity}) {
    if (names->find(name) == names->end()) {
      return fail(answers, std::string("has no method '") + name + "'", Error::InvalidArgument);
    }
    error = module.load_method(name);
    if (error != Error::Ok) return fail(answers, std::string("ExecuTorch does not load its method '") + name + "'", error);
  }
  auto meta = module.method_meta("forward");
  if (!meta.ok()) return fail(answers, "ExecuTorch does not describe its method 'forward'", meta.error());
  if (meta->num_inputs() != 1 || meta->num_outputs() != 1) {
    return fail(answers, "has not one input and one output", Error::InvalidArgument);
  }
  auto input = meta->input_tensor_meta(0);
  auto output = meta->output_tensor_meta(0);
  if (!input.ok() || !output.ok()) return fail(answers, "its input or output is not a tensor", Error::InvalidArgument);
  auto card = module.execute(kIdentity);
  if (!card.ok() || card->size() != 1 || !card->at(0).isTensor()) {
    return fail(answers, "its method 'prunnet_identity' returns no tensor", card.ok() ? Error::InvalidArgument : card.error());
  }
  const auto identity = card->at(0).toTensor();
  std::fprintf(answers, "{\"version\": \"%s\", \"input\": %s, \"output\": %s, \"identity\": \"%s\"}\n",
               PRUNNET_EXECUTORCH_VERSION, describe(*input).c_str(), describe(*output).c_str(),
               hex(static_cast<const uint8_t*>(identity.const_data_ptr()), identity.nbytes()).c_str());
  std::fflush(answers);

  std::vector<executorch::aten::SizesType> sizes(input->sizes().begin(), input->sizes().end());
  std::vector<uint8_t> pixels(input->nbytes());
  auto tensor = from_blob(pixels.data(), sizes, input->scalar_type());
  while (std::fread(pixels.data(), 1, pixels.size(), stdin) == pixels.size()) {
    auto result = module.forward(tensor);
    if (!result.ok()) {
      std::fprintf(stderr, "forward failed (error 0x%x)\n", static_cast<unsigned>(result.error()));
      return 6;
    }
    const auto embedding = result->at(0).toTensor();
    std::fwrite(embedding.const_data_ptr(), 1, embedding.nbytes(), answers);
    std::fflush(answers);
  }
  return 0;
}
