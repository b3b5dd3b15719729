// y = a * x + y, on the GPU and on the CPU. Both round twice, so that they agree to the bit.
#pragma once

#include <cstddef>

extern "C" {

// Returns a `cudaError_t`, which is 0 where the kernel ran.
int crosswheel_saxpy(float a, const float *x, float *y, std::size_t n);

// What `crosswheel_saxpy` returned, in words.
const char *crosswheel_error(int error);

void crosswheel_saxpy_reference(float a, const float *x, float *y, std::size_t n);

}
