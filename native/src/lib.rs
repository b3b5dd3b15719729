//! `crosswheel_native._native`: what a CUDA machine has, asked of its driver, and a kernel that runs
//! on its GPU and is checked against the CPU.
//!
//! The driver is loaded when it is first asked, so that the module can be imported anywhere and says
//! what is missing.

mod driver;
mod kernel;

use pyo3::create_exception;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use driver::Driver;

create_exception!(
    crosswheel_native,
    CudaError,
    PyRuntimeError,
    "The driver, a GPU or a kernel is not there or does not work."
);

/// A GPU, as the driver describes it.
#[pyclass(frozen, get_all)]
struct Gpu {
    /// Such as `NVIDIA Thor`.
    name: String,
    /// Major and minor, such as `(11, 0)`.
    compute_capability: (i32, i32),
    /// Whether it has the CPU's memory and none of its own.
    unified_memory: bool,
    /// In bytes.
    total_memory: usize,
}

#[pymethods]
impl Gpu {
    fn __repr__(&self) -> String {
        let (major, minor) = self.compute_capability;
        let memory = if self.unified_memory { "unified memory" } else { "memory of its own" };
        let gib = self.total_memory as f64 / f64::from(1 << 30);
        format!("<{}, compute capability {major}.{minor}, {gib:.1} GiB, {memory}>", self.name)
    }
}

/// The newest CUDA that the driver knows, as major and minor.
#[pyfunction]
fn driver_version() -> PyResult<(i32, i32)> {
    Ok(Driver::load()?.version()?)
}

/// All GPUs, in the driver's order.
#[pyfunction]
fn gpus() -> PyResult<Vec<Gpu>> {
    let driver = Driver::load()?;
    let gpu = |index| -> Result<Gpu, driver::Error> {
        let device = driver.device(index)?;
        Ok(Gpu {
            name: driver.name(device)?,
            compute_capability: driver.compute_capability(device)?,
            unified_memory: driver.is_integrated(device)?,
            total_memory: driver.total_memory(device)?,
        })
    };
    Ok((0..driver.devices()?).map(gpu).collect::<Result<_, _>>()?)
}

/// Runs a kernel on `elements` numbers on the first GPU, and holds the result to the CPU's: to the
/// bit, since both round alike. Returns how many numbers were compared.
#[pyfunction]
#[pyo3(signature = (elements = 1 << 20))]
fn check(py: Python<'_>, elements: usize) -> PyResult<usize> {
    if Driver::load()?.devices()? == 0 {
        return Err(CudaError::new_err("the driver has no GPU"));
    }
    py.detach(|| kernel::check(elements)).map_err(CudaError::new_err)?;
    Ok(elements)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("CudaError", module.py().get_type::<CudaError>())?;
    module.add_class::<Gpu>()?;
    module.add_function(wrap_pyfunction!(driver_version, module)?)?;
    module.add_function(wrap_pyfunction!(gpus, module)?)?;
    module.add_function(wrap_pyfunction!(check, module)?)
}
