//! The libraries that trained the models, through their C APIs, with one thread.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;

use crate::rows::Table;
use crate::{Fallible, Subject};

fn open(path: &Path) -> Fallible<&'static libloading::Library> {
    // SAFETY: the initialisers of these libraries are sound to run.
    let library = unsafe { libloading::Library::new(path) };
    library.map(|library| &*Box::leak(Box::new(library))).map_err(|error| error.to_string())
}

/// A function of a library.
///
/// # Safety
/// `F` is the signature of the function.
unsafe fn function<F: Copy>(library: &libloading::Library, name: &CStr) -> Fallible<F> {
    // SAFETY: the caller names the right type.
    let found = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    found.map(|symbol| *symbol).map_err(|error| error.to_string())
}

fn c_path(path: &Path) -> Fallible<CString> {
    CString::new(path.to_string_lossy().as_ref()).map_err(|error| error.to_string())
}

fn done(status: c_int) -> Fallible<()> {
    if status == 0 { Ok(()) } else { Err("the library refuses the call".into()) }
}

type PredictFromDense = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *mut c_void,
    *mut *const u64,
    *mut u64,
    *mut *const f32,
) -> c_int;

/// `XGBoosterPredictFromDense`: margins of rows in place.
pub(crate) struct XgBoost<'t> {
    booster: *mut c_void,
    predict: PredictFromDense,
    table: &'t Table,
}

impl<'t> XgBoost<'t> {
    pub(crate) fn open(library: &Path, model: &Path, table: &'t Table) -> Fallible<Self> {
        let (library, model, mut booster) = (open(library)?, c_path(model)?, null_mut());
        // SAFETY: the signatures are those of xgboost/c_api.h.
        unsafe {
            type Create = unsafe extern "C" fn(*const *mut c_void, u64, *mut *mut c_void) -> c_int;
            type Load = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
            type Set = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> c_int;
            done(function::<Create>(library, c"XGBoosterCreate")?(null_mut(), 0, &mut booster))?;
            done(function::<Load>(library, c"XGBoosterLoadModel")?(booster, model.as_ptr()))?;
            let set = function::<Set>(library, c"XGBoosterSetParam")?;
            done(set(booster, c"nthread".as_ptr(), c"1".as_ptr()))?;
            Ok(Self { booster, predict: function(library, c"XGBoosterPredictFromDense")?, table })
        }
    }

    fn predict(&self, first: usize, count: usize) -> &[f32] {
        const CONFIG: &CStr =
            c"{\"type\": 1, \"training\": false, \"iteration_begin\": 0, \"iteration_end\": 0, \
            \"missing\": NaN, \"strict_shape\": false, \"cache_id\": 0}";
        let features = self.table.features;
        let data = self.table.floats[first * features..(first + count) * features].as_ptr();
        let array = format!(
            "{{\"data\": [{}, true], \"shape\": [{count}, {features}], \"typestr\": \"<f4\", \"version\": 3}}\0",
            data as usize
        );
        let (mut shape, mut dimensions, mut result) = (std::ptr::null(), 0, std::ptr::null());
        // SAFETY: the array is `count` rows of the table, and the result lives until the next call.
        unsafe {
            let status = (self.predict)(
                self.booster,
                array.as_ptr().cast(),
                CONFIG.as_ptr(),
                null_mut(),
                &mut shape,
                &mut dimensions,
                &mut result,
            );
            done(status).expect("XGBoost predicts");
            std::slice::from_raw_parts(result, count)
        }
    }
}

impl Subject for XgBoost<'_> {
    fn call(&mut self, first: usize, count: usize) {
        self.predict(first, count);
    }

    fn margins(&mut self) -> Option<Vec<f64>> {
        Some(self.predict(0, self.table.count).iter().map(|value| f64::from(*value)).collect())
    }
}

type PredictForMat = unsafe extern "C" fn(
    *mut c_void,
    *const c_void,
    c_int,
    i32,
    i32,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_char,
    *mut i64,
    *mut f64,
) -> c_int;
type PredictFast = unsafe extern "C" fn(*mut c_void, *const c_void, *mut i64, *mut f64) -> c_int;

/// `LGBM_BoosterPredictForMat`, and for one row `LGBM_BoosterPredictForMatSingleRowFast`: raw scores.
pub(crate) struct LightGbm<'t> {
    booster: *mut c_void,
    one: *mut c_void,
    predict: PredictForMat,
    predict_one: PredictFast,
    table: &'t Table,
    sums: Vec<f64>,
}

impl<'t> LightGbm<'t> {
    const DOUBLES: c_int = 1;
    const RAW_SCORE: c_int = 1;
    const PARAMETERS: &'static CStr = c"num_threads=1";

    pub(crate) fn open(library: &Path, model: &Path, table: &'t Table) -> Fallible<Self> {
        let (library, model) = (open(library)?, c_path(model)?);
        let (mut booster, mut one, mut iterations) = (null_mut(), null_mut(), 0);
        // SAFETY: the signatures are those of LightGBM/c_api.h.
        unsafe {
            type Create = unsafe extern "C" fn(*const c_char, *mut c_int, *mut *mut c_void) -> c_int;
            type Init = unsafe extern "C" fn(
                *mut c_void,
                c_int,
                c_int,
                c_int,
                c_int,
                i32,
                *const c_char,
                *mut *mut c_void,
            ) -> c_int;
            let create = function::<Create>(library, c"LGBM_BoosterCreateFromModelfile")?;
            done(create(model.as_ptr(), &mut iterations, &mut booster))?;
            let init = function::<Init>(library, c"LGBM_BoosterPredictForMatSingleRowFastInit")?;
            let (columns, parameters) = (table.features as i32, Self::PARAMETERS.as_ptr());
            done(init(booster, Self::RAW_SCORE, 0, -1, Self::DOUBLES, columns, parameters, &mut one))?;
            Ok(Self {
                booster,
                one,
                predict: function(library, c"LGBM_BoosterPredictForMat")?,
                predict_one: function(library, c"LGBM_BoosterPredictForMatSingleRowFast")?,
                table,
                sums: vec![0.0; table.count],
            })
        }
    }
}

impl Subject for LightGbm<'_> {
    fn call(&mut self, first: usize, count: usize) {
        let features = self.table.features;
        let data = self.table.doubles[first * features..(first + count) * features].as_ptr().cast();
        let (mut length, sums) = (0, self.sums.as_mut_ptr());
        // SAFETY: the data is `count` rows of the table, and there is a place for each sum.
        let status = unsafe {
            if count == 1 {
                (self.predict_one)(self.one, data, &mut length, sums)
            } else {
                (self.predict)(
                    self.booster,
                    data,
                    Self::DOUBLES,
                    count as i32,
                    features as i32,
                    1,
                    Self::RAW_SCORE,
                    0,
                    -1,
                    Self::PARAMETERS.as_ptr(),
                    &mut length,
                    sums,
                )
            }
        };
        done(status).expect("LightGBM predicts");
    }

    fn margins(&mut self) -> Option<Vec<f64>> {
        self.call(0, self.table.count);
        Some(self.sums.clone())
    }
}
