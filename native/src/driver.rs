//! The driver's library, loaded at run time (CUDA Driver API).

use std::ffi::{CStr, c_char, c_int};
use std::fmt;

use libloading::Library;
use pyo3::PyErr;

/// Its SONAME on every Linux.
const LIBRARY: &str = "libcuda.so.1";

// `CUdevice_attribute` of cuda.h.
const INTEGRATED: c_int = 18;
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;
const COMPUTE_CAPABILITY_MINOR: c_int = 76;

/// The driver, initialised.
pub struct Driver(Library);

/// A `CUdevice`.
#[derive(Clone, Copy)]
pub struct Device(c_int);

/// Why the driver cannot be asked.
#[derive(Debug)]
pub enum Error {
    /// There is no library, or not one of a driver.
    Missing(libloading::Error),
    /// A function failed.
    Failed {
        /// Which.
        function: &'static str,
        /// `CUresult`.
        code: c_int,
        /// In the driver's words.
        words: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(error) => {
                // dlopen's own words, where there are any.
                let words = std::error::Error::source(error).map(ToString::to_string);
                let words = words.unwrap_or_else(|| error.to_string());
                write!(
                    f,
                    "the NVIDIA driver is missing: `{LIBRARY}` cannot be loaded ({words}); a \
                     container gets the machine's by `--gpus all` or `--runtime nvidia`"
                )
            }
            Self::Failed { function, code, words } => {
                write!(f, "the NVIDIA driver does not work: `{function}` failed: {words} ({code})")
            }
        }
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        crate::CudaError::new_err(error.to_string())
    }
}

/// Looks up a function of the driver and calls it, and tells of a result that is not 0.
macro_rules! call {
    ($driver:expr, $name:literal, fn($($kind:ty),*), $($value:expr),*) => {{
        // SAFETY: this is the function's type in cuda.h, and every pointer is to a live value.
        let code = unsafe {
            let function = $driver.0.get::<unsafe extern "C" fn($($kind),*) -> c_int>($name);
            function.map_err(Error::Missing)?($($value),*)
        };
        $driver.result($name, code)
    }};
}

impl Driver {
    /// Loads and initialises it.
    pub fn load() -> Result<Self, Error> {
        // SAFETY: the driver's library may be loaded at any time, and by any thread.
        let driver = Self(unsafe { Library::new(LIBRARY) }.map_err(Error::Missing)?);
        call!(driver, "cuInit", fn(u32), 0)?;
        Ok(driver)
    }

    fn result(&self, function: &'static str, code: c_int) -> Result<(), Error> {
        match code {
            0 => Ok(()),
            _ => Err(Error::Failed { function, code, words: self.words(code) }),
        }
    }

    fn words(&self, code: c_int) -> String {
        type Describe = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;
        let mut words: *const c_char = std::ptr::null();
        // SAFETY: the function's type is cuda.h's; it points to a constant of the library.
        unsafe {
            if let Ok(describe) = self.0.get::<Describe>("cuGetErrorString") {
                describe(code, &mut words);
            }
            match words.is_null() {
                true => "unknown error".to_owned(),
                false => CStr::from_ptr(words).to_string_lossy().into_owned(),
            }
        }
    }

    /// The newest CUDA that it knows, as major and minor.
    pub fn version(&self) -> Result<(i32, i32), Error> {
        let mut version = 0;
        call!(self, "cuDriverGetVersion", fn(*mut c_int), &mut version)?;
        Ok((version / 1000, version % 1000 / 10))
    }

    /// How many GPUs there are.
    pub fn devices(&self) -> Result<i32, Error> {
        let mut count = 0;
        call!(self, "cuDeviceGetCount", fn(*mut c_int), &mut count)?;
        Ok(count)
    }

    /// A GPU by its number.
    pub fn device(&self, index: i32) -> Result<Device, Error> {
        let mut device = 0;
        call!(self, "cuDeviceGet", fn(*mut c_int, c_int), &mut device, index)?;
        Ok(Device(device))
    }

    /// What it is called.
    pub fn name(&self, device: Device) -> Result<String, Error> {
        let mut name = [0 as c_char; 256];
        call!(
            self,
            "cuDeviceGetName",
            fn(*mut c_char, c_int, c_int),
            name.as_mut_ptr(),
            name.len() as c_int - 1,
            device.0
        )?;
        // SAFETY: the last byte was not given away, so that there is an end.
        Ok(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// Its compute capability, as major and minor.
    pub fn compute_capability(&self, device: Device) -> Result<(i32, i32), Error> {
        let major = self.attribute(COMPUTE_CAPABILITY_MAJOR, device)?;
        Ok((major, self.attribute(COMPUTE_CAPABILITY_MINOR, device)?))
    }

    /// Whether it shares the CPU's memory.
    pub fn is_integrated(&self, device: Device) -> Result<bool, Error> {
        Ok(self.attribute(INTEGRATED, device)? != 0)
    }

    /// Its memory, in bytes.
    pub fn total_memory(&self, device: Device) -> Result<usize, Error> {
        let mut bytes = 0;
        call!(self, "cuDeviceTotalMem_v2", fn(*mut usize, c_int), &mut bytes, device.0)?;
        Ok(bytes)
    }

    fn attribute(&self, attribute: c_int, device: Device) -> Result<c_int, Error> {
        let mut value = 0;
        call!(
            self,
            "cuDeviceGetAttribute",
            fn(*mut c_int, c_int, c_int),
            &mut value,
            attribute,
            device.0
        )?;
        Ok(value)
    }
}
