//! A driver for a machine without a GPU: `libcuda.so.1` for the emulated target.
//!
//! Its functions are those that `cuda.h` declares, so that what needs another is found out. All
//! answer `CUDA_ERROR_NO_DEVICE`, but for the two by which the CUDA runtime gets to know a driver.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::ProveError;
use crate::Result;
use crate::artifact::Sha256;
use crate::context::Context;
use crate::exec::Command;
use crate::store::Key;
use crate::symbols::driver::libcuda;
use crate::toolchain::Request;

/// `CUDA_ERROR_NO_DEVICE` of `cuda.h`.
const NO_DEVICE: u32 = 100;
/// `CUDA_ERROR_NOT_FOUND` of `cuda.h`.
const NOT_FOUND: u32 = 500;

/// Makes the stub, or finds it; returns the folder that it is in.
pub(super) fn stub(context: &Context, request: &Request<'_>) -> Result<PathBuf> {
    let (parts, _) = context.with_provisioner(|p| p.components(&["gcc", "cuda"], request))?;
    let header = parts["cuda"].path.join("include/cuda.h");
    let header = fs_err::read_to_string(header).map_err(ProveError::Io)?;
    let source = source(&header, &request.target.cuda);
    let key = Key::new("driver-stub", Sha256::of(format!("{} {source}", parts["gcc"].key)));
    let triple = request.target.arch.gnu_triple();
    let gcc = parts["gcc"].path.join(format!("usr/bin/{triple}-gcc"));
    let installed =
        context.components.install(&key, |root| compile(context, &gcc, &source, root))?;
    Ok(installed.path)
}

fn compile(context: &Context, gcc: &Path, source: &str, root: &Path) -> Result<()> {
    let file = root.join("libcuda.c");
    fs_err::write(&file, source).map_err(ProveError::Io)?;
    Command::new(gcc, root)
        .args(["-shared", "-fPIC", "-O1", "-nostdlib", "-ffreestanding", "-w"])
        .args(["-Wl,-soname,libcuda.so.1", "-Wl,--build-id=none", "-Wl,-z,noexecstack"])
        .args(["-o", "libcuda.so.1", "libcuda.c"])
        .check(&context.interrupt)?;
    Ok(())
}

/// The stub in C, with no header and no library.
fn source(header: &str, cuda: &str) -> String {
    let library = libcuda(header);
    let apart = |name: &str| name == "cuDriverGetVersion" || name.starts_with("cuGetProcAddress");
    let names: Vec<&str> = library.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
    let mut text = String::new();
    for name in names.iter().filter(|name| !apart(name)) {
        let _ = writeln!(text, "int {name}(void) {{ return {NO_DEVICE}; }}");
    }
    // CUDA_VERSION of `cuda.h`: 1000 times the major, 10 times the minor version.
    let (major, minor) = cuda.split_once('.').unwrap_or((cuda, "0"));
    let _ = writeln!(
        text,
        "int cuDriverGetVersion(int *version) {{ *version = {major} * 1000 + {minor} * 10; return 0; }}"
    );
    for name in names.iter().filter(|name| name.starts_with("cuGetProcAddress")) {
        let _ = writeln!(text, "int {name}();");
    }
    let _ = writeln!(text, "static const struct {{ const char *name; void *address; }} all[] = {{");
    for name in &names {
        let _ = writeln!(text, "    {{ \"{name}\", (void *) {name} }},");
    }
    let _ = writeln!(
        text,
        "}};\n\
         static int get(const char *name, void **address) {{\n\
         \x20   for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {{\n\
         \x20       const char *a = name, *b = all[i].name;\n\
         \x20       while (*a && *a == *b) a++, b++;\n\
         \x20       if (*a == *b) {{ *address = all[i].address; return 0; }}\n\
         \x20   }}\n\
         \x20   *address = 0;\n\
         \x20   return {NOT_FOUND};\n\
         }}"
    );
    for name in names.iter().filter(|name| name.starts_with("cuGetProcAddress")) {
        let _ = writeln!(
            text,
            "int {name}(const char *name, void **address, int version, unsigned long flags, \
             int *status) {{ return get(name, address); }}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_function_is_there_once() {
        let header = "CUresult CUDAAPI cuInit(unsigned int Flags);\n\
                      CUresult CUDAAPI cuDriverGetVersion(int *driverVersion);\n\
                      #define cuGetProcAddress cuGetProcAddress_v2\n";
        let text = source(header, "13.0");
        assert!(text.contains("int cuInit(void) { return 100; }"), "{text}");
        assert!(text.contains("*version = 13 * 1000 + 0 * 10"), "{text}");
        assert_eq!(text.matches("int cuDriverGetVersion(").count(), 1, "{text}");
        assert_eq!(text.matches("int cuGetProcAddress_v2(const").count(), 1, "{text}");
        assert!(text.contains("{ \"cuGetProcAddress_v2\", (void *) cuGetProcAddress_v2 }"));
    }
}
