//! Compiles the kernel with nvcc and its reference for the CPU with CMake. Both find the target's
//! compilers in the environment, as any crate's build script does.

fn main() {
    println!("cargo::rerun-if-changed=csrc");
    // The runtime is linked in, so that the module needs no library of CUDA's to be imported.
    cc::Build::new().cuda(true).cudart("static").file("csrc/saxpy.cu").compile("saxpy");
    let reference = cmake::build("csrc/reference");
    println!("cargo::rustc-link-search=native={}", reference.join("lib").display());
    println!("cargo::rustc-link-lib=static=reference");
}
