//! The kernel of `csrc/saxpy.cu`, and its reference of `csrc/reference`.

use std::ffi::{CStr, c_char, c_int};

// `csrc/saxpy.h`.
unsafe extern "C" {
    fn crosswheel_saxpy(a: f32, x: *const f32, y: *mut f32, n: usize) -> c_int;
    fn crosswheel_error(error: c_int) -> *const c_char;
    fn crosswheel_saxpy_reference(a: f32, x: *const f32, y: *mut f32, n: usize);
}

/// Runs both on the same numbers, and says where they differ.
pub fn check(elements: usize) -> Result<(), String> {
    const A: f32 = 1.1;
    let x: Vec<f32> = (0..elements).map(|i| i as f32 * 0.37 - 1000.0).collect();
    let start: Vec<f32> = (0..elements).map(|i| (i % 977) as f32 / 7.0).collect();
    let mut of_gpu = start.clone();
    // SAFETY: both buffers hold `elements` numbers, and the function keeps neither.
    let error = unsafe { crosswheel_saxpy(A, x.as_ptr(), of_gpu.as_mut_ptr(), elements) };
    if error != 0 {
        // SAFETY: the runtime's messages are constants (cudaGetErrorString).
        let words = unsafe { CStr::from_ptr(crosswheel_error(error)) };
        return Err(format!("the kernel did not run: {} ({error})", words.to_string_lossy()));
    }
    let mut of_cpu = start;
    // SAFETY: as above.
    unsafe { crosswheel_saxpy_reference(A, x.as_ptr(), of_cpu.as_mut_ptr(), elements) };
    let differs = |(gpu, cpu): (&f32, &f32)| gpu.to_bits() != cpu.to_bits();
    match of_gpu.iter().zip(&of_cpu).position(differs) {
        Some(i) => {
            let (gpu, cpu) = (of_gpu[i], of_cpu[i]);
            Err(format!("the GPU has {gpu} where the CPU has {cpu}, at {i} of {elements}"))
        }
        None => Ok(()),
    }
}
