#include "saxpy.h"

#include <cuda_runtime.h>

namespace {

__global__ void saxpy(float a, const float *x, float *y, std::size_t n) {
    for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
         i += std::size_t{gridDim.x} * blockDim.x) {
        // Not one fused operation, which would round once.
        y[i] = __fadd_rn(__fmul_rn(a, x[i]), y[i]);
    }
}

// Memory of the GPU, freed whatever happens.
class Buffer {
public:
    explicit Buffer(std::size_t bytes) : error_(cudaMalloc(&data_, bytes)) {}
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { cudaFree(data_); }

    cudaError_t error() const { return error_; }
    float *get() const { return static_cast<float *>(data_); }

private:
    void *data_ = nullptr;
    cudaError_t error_;
};

cudaError_t run(float a, const float *x, float *y, std::size_t n) {
    const std::size_t bytes = n * sizeof(float);
    const Buffer on_gpu_x(bytes), on_gpu_y(bytes);
    for (const Buffer *buffer : {&on_gpu_x, &on_gpu_y}) {
        if (buffer->error() != cudaSuccess) return buffer->error();
    }
    cudaError_t error = cudaMemcpy(on_gpu_x.get(), x, bytes, cudaMemcpyHostToDevice);
    if (error != cudaSuccess) return error;
    error = cudaMemcpy(on_gpu_y.get(), y, bytes, cudaMemcpyHostToDevice);
    if (error != cudaSuccess) return error;
    saxpy<<<256, 256>>>(a, on_gpu_x.get(), on_gpu_y.get(), n);
    error = cudaGetLastError();
    if (error != cudaSuccess) return error;
    // It waits for the kernel, and tells of what went wrong in it.
    return cudaMemcpy(y, on_gpu_y.get(), bytes, cudaMemcpyDeviceToHost);
}

}  // namespace

extern "C" int crosswheel_saxpy(float a, const float *x, float *y, std::size_t n) {
    return run(a, x, y, n);
}

extern "C" const char *crosswheel_error(int error) {
    return cudaGetErrorString(static_cast<cudaError_t>(error));
}
