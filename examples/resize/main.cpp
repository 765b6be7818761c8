// Resizes pictures from standard input, for tests: a line "h w height width filter fit scale r g b", then h * w * 3
// bytes of RGB, any number of times. Writes height * width * 3 bytes for each.
//
//   g++ -std=c++17 -O2 -ffp-contract=off main.cpp -o resize
#include <iostream>
#include <string>

#include "resize.hpp"

int main() {
  std::ios::sync_with_stdio(false);
  int h, w, fill[3];
  std::string filter, fit;
  prunnet::Framing framing;
  while (std::cin >> h >> w >> framing.height >> framing.width >> filter >> fit >> framing.scale >> fill[0] >> fill[1] >>
         fill[2]) {
    framing.filter = filter == "bicubic" ? prunnet::Filter::bicubic : prunnet::Filter::bilinear;
    framing.fit = fit == "crop"        ? prunnet::Fit::crop
                  : fit == "letterbox" ? prunnet::Fit::letterbox
                                       : prunnet::Fit::stretch;
    std::copy(fill, fill + 3, framing.fill);
    std::cin.get();  // the end of the line
    std::vector<uint8_t> rgb(static_cast<size_t>(h) * w * 3);
    std::cin.read(reinterpret_cast<char*>(rgb.data()), static_cast<std::streamsize>(rgb.size()));
    if (!std::cin) {
      std::cerr << "the picture ends early\n";
      return 1;
    }
    const auto out = prunnet::resize(rgb.data(), h, w, framing);
    std::cout.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size()));
  }
}
