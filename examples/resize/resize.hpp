// The resize that a bundle's manifest states, in C++17 with no dependency. The values are Pillow's, columns first.
//
//   prunnet::Framing framing;             // of manifest.json, preprocessing
//   framing.height = framing.width = 224;
//   framing.filter = prunnet::Filter::bicubic;
//   std::vector<uint8_t> input = prunnet::resize(rgb, height, width, framing);
//
// Pixels are RGB, row by row, already turned upright as EXIF asks. Compile with -ffp-contract=off: a processor that
// fuses multiplications and additions may round a weight otherwise.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace prunnet {

enum class Filter { bilinear, bicubic };
enum class Fit { stretch, crop, letterbox };

struct Framing {
  int height = 0;
  int width = 0;
  Filter filter = Filter::bilinear;
  Fit fit = Fit::stretch;
  double scale = 1.0;            // of crop
  uint8_t fill[3] = {0, 0, 0};   // of letterbox, RGB
};

namespace detail {

constexpr double kLargest = 89478485;  // pixels that a picture may have on its way
constexpr int kBits = 22;  // of a weight's fraction

inline double kernel(Filter filter, double x) {
  x = std::fabs(x);
  if (filter == Filter::bilinear) return x < 1 ? 1 - x : 0;
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

// What each place of the result takes from the source along one axis: `weights` of the pixels from `first` on.
struct Share {
  int first;
  std::vector<int32_t> weights;
};

inline std::vector<Share> shares(int stored, int wanted, Filter filter) {
  const double step = static_cast<double>(stored) / wanted;
  const double stretch = std::max(step, 1.0);  // the filter widens with the reduction: this is the antialiasing
  const double reach = (filter == Filter::bilinear ? 1.0 : 2.0) * stretch;
  std::vector<Share> all(wanted);
  for (int at = 0; at < wanted; ++at) {
    const double centre = (at + 0.5) * step;
    const int first = std::max(0, static_cast<int>(centre - reach + 0.5));
    const int end = std::min(stored, static_cast<int>(centre + reach + 0.5));
    std::vector<double> exact;
    double sum = 0;
    for (int from = first; from < end; ++from) {
      exact.push_back(kernel(filter, (from - centre + 0.5) * (1.0 / stretch)));
      sum += exact.back();
    }
    Share share{first, {}};
    for (double weight : exact) {
      const double fixed = (sum != 0 ? weight / sum : weight) * (1 << kBits);
      share.weights.push_back(static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
    all[at] = std::move(share);
  }
  return all;
}

inline uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

// Resize without regard to the aspect: columns first, rounded to 8 bits, then rows.
inline std::vector<uint8_t> stretched(const uint8_t* rgb, int h, int w, int height, int width, Filter filter) {
  const auto across = shares(w, width, filter), down = shares(h, height, filter);
  std::vector<uint8_t> wide(static_cast<size_t>(h) * width * 3), out(static_cast<size_t>(height) * width * 3);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        int32_t sum = 1 << (kBits - 1);
        const uint8_t* from = rgb + (static_cast<size_t>(y) * w + across[x].first) * 3 + c;
        for (int32_t weight : across[x].weights) sum += weight * *from, from += 3;
        wide[(static_cast<size_t>(y) * width + x) * 3 + c] = rounded(sum);
      }
  const size_t row = static_cast<size_t>(width) * 3;
  for (int y = 0; y < height; ++y)
    for (size_t x = 0; x < row; ++x) {
      int32_t sum = 1 << (kBits - 1);
      size_t from = down[y].first * row + x;
      for (int32_t weight : down[y].weights) sum += weight * wide[from], from += row;
      out[y * row + x] = rounded(sum);
    }
  return out;
}

inline int half_to_even(double value) { return static_cast<int>(std::nearbyint(value)); }

}  // namespace detail

// Bring an upright RGB picture of h x w pixels to the encoder's input: height x width x 3 values, row by row.
inline std::vector<uint8_t> resize(const uint8_t* rgb, int h, int w, const Framing& framing) {
  if (h < 1 || w < 1 || framing.height < 1 || framing.width < 1) throw std::invalid_argument("a side has no pixel");
  const int height = framing.height, width = framing.width;
  int tall = height, wide = width;  // to which the whole picture is resized
  if (framing.fit == Fit::crop) {
    tall = static_cast<int>(std::floor(height / framing.scale));
    wide = static_cast<int>(std::floor(width / framing.scale));
    const double across = std::floor(static_cast<double>(static_cast<int64_t>(tall) * w) / h);
    const double down = std::floor(static_cast<double>(static_cast<int64_t>(wide) * h) / w);
    const bool low = static_cast<int64_t>(tall) * w >= static_cast<int64_t>(wide) * h;
    if ((low ? std::max(h, tall) * across : std::max<double>(h, down) * wide) > detail::kLargest)
      throw std::invalid_argument("too narrow a strip to be cropped");
    if (low)
      wide = std::max(wide, static_cast<int>(across));
    else
      tall = std::max(tall, static_cast<int>(down));
  } else if (framing.fit == Fit::letterbox) {
    if (static_cast<double>(w) / h > static_cast<double>(width) / height)
      tall = std::max(1, detail::half_to_even(static_cast<double>(h) / w * width));
    else
      wide = std::max(1, detail::half_to_even(static_cast<double>(w) / h * height));
  }
  const auto scaled = detail::stretched(rgb, h, w, tall, wide, framing.filter);
  if (tall == height && wide == width) return scaled;
  const int top = detail::half_to_even((height - tall) / 2.0), left = detail::half_to_even((width - wide) / 2.0);
  std::vector<uint8_t> out(static_cast<size_t>(height) * width * 3);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int from_y = y - top, from_x = x - left;
      const bool inside = from_y >= 0 && from_y < tall && from_x >= 0 && from_x < wide;
      const uint8_t* from = inside ? &scaled[(static_cast<size_t>(from_y) * wide + from_x) * 3] : framing.fill;
      std::copy(from, from + 3, &out[(static_cast<size_t>(y) * width + x) * 3]);
    }
  return out;
}

}  // namespace prunnet
