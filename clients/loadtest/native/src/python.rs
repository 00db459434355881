//! The border to Python: the module `scorewire_loadtest_native`.

use std::net::{AddrParseError, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::pacing::Arrivals;
use crate::run::Run;
use crate::settings::{Load, PreparedCall, Settings};
use crate::socket::Address;
use crate::tally::Second;
use crate::tls::Tls;

/// Everything that a run needs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct SettingsParts {
    /// Numeric addresses and ports, which connections use in turn, or the path of a Unix socket.
    addresses: Vec<(String, u16)>,
    unix_path: String,
    authority: String,
    tls: Option<TlsParts>,
    path: String,
    user_agent: String,
    authorization: Option<String>,
    /// The requests, and the number of rows of each.
    calls: Vec<(PyBackedBytes, u64)>,
    volatile_fields: Vec<u64>,
    connections: usize,
    streams: Option<usize>,
    /// `None`: an open loop.
    concurrency: Option<usize>,
    rate: f64,
    /// The seed of Poisson arrivals; `None`: constant ones.
    poisson_seed: Option<u64>,
    max_outstanding: usize,
    warmup_ns: u64,
    duration_ns: u64,
    timeout_ns: u64,
    max_message_bytes: usize,
    spins: bool,
}

/// PEM of the authorities, of the client's certificate and key, and the name in the server's certificate.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TlsParts {
    roots: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    name: String,
}

fn framed((request, rows): (PyBackedBytes, u64)) -> PyResult<PreparedCall> {
    let length = u32::try_from(request.len()).map_err(|_| PyValueError::new_err("a request is too long"))?;
    let mut message = BytesMut::with_capacity(request.len() + 5);
    message.put_u8(0);
    message.put_u32(length);
    message.put_slice(&request);
    Ok(PreparedCall { framed: Bytes::from(message), rows })
}

impl SettingsParts {
    fn settings(self) -> PyResult<Settings> {
        let address = if self.unix_path.is_empty() {
            let parsed = self.addresses.iter().map(|(ip, port)| Ok(SocketAddr::new(ip.parse()?, *port)));
            let parsed: Result<Vec<_>, AddrParseError> = parsed.collect();
            Address::Tcp(parsed.map_err(|error| PyValueError::new_err(error.to_string()))?)
        } else {
            Address::Unix(self.unix_path.into())
        };
        let tls = self.tls.map(|parts| {
            let identity = parts.identity.as_ref().map(|(chain, key)| (chain.as_slice(), key.as_slice()));
            Tls::new(&parts.roots, identity, &parts.name).map_err(PyValueError::new_err)
        });
        let load = match self.concurrency {
            Some(concurrency) => Load::Closed { concurrency },
            None => Load::Open {
                arrivals: self.poisson_seed.map_or(Arrivals::Constant, Arrivals::Poisson),
                rate: self.rate,
                max_outstanding: self.max_outstanding,
            },
        };
        if self.calls.is_empty() || self.connections == 0 || self.streams == Some(0) {
            return Err(PyValueError::new_err("there must be calls, connections and streams"));
        }
        Ok(Settings {
            address,
            authority: self.authority,
            tls: tls.transpose()?,
            path: self.path,
            user_agent: self.user_agent,
            authorization: self.authorization,
            calls: self.calls.into_iter().map(framed).collect::<PyResult<_>>()?,
            volatile_fields: self.volatile_fields,
            connections: self.connections,
            streams: self.streams,
            load,
            warmup_ns: self.warmup_ns,
            duration_ns: self.duration_ns,
            timeout_ns: self.timeout_ns,
            max_message_bytes: self.max_message_bytes,
            spins: self.spins,
        })
    }
}

/// One second: its number, answered, failed, and p50, p99 and largest latency in microseconds.
type SecondParts = (u64, u64, u64, Option<(u64, u64, u64)>);

fn second_parts(second: &Second) -> SecondParts {
    (second.second, second.answered, second.failed, second.latency_us)
}

/// The call, which distinct answer to it, whether one beyond the bounds counts, and the answer.
type FreshParts = (usize, Option<usize>, bool, Py<PyBytes>);

/// What was counted, as a dict. Times are in nanoseconds, latencies and lags in microseconds.
#[derive(IntoPyObject)]
struct TotalsParts {
    elapsed_ns: u64,
    calls: u64,
    answered: u64,
    rows: u64,
    late: u64,
    held: u64,
    unsent: u64,
    unreadable: Vec<(&'static str, u64)>,
    latencies: Vec<(u64, u64)>,
    max_us: u64,
    lags: Vec<(u64, u64)>,
    max_lag_us: u64,
    errors: Vec<(u32, String, u64, String)>,
    seconds: Vec<SecondParts>,
    answers: Vec<(usize, usize, u64)>,
    cpu_ns: u64,
    queued_ns: Option<u64>,
    measured_ns: u64,
}

/// A run that is under way; see the stub file.
#[pyclass(frozen, name = "Run")]
struct PyRun(Run);

#[pymethods]
impl PyRun {
    #[new]
    fn new(py: Python<'_>, settings: SettingsParts) -> PyResult<Self> {
        py.detach(|| {
            let run = Run::start(settings.settings()?);
            run.map(Self).map_err(|error| PyOSError::new_err(error.to_string()))
        })
    }

    fn wait(&self, py: Python<'_>, seconds: f64) -> bool {
        let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        py.detach(|| self.0.wait(time))
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn progress(&self) -> (u64, u64, Option<SecondParts>) {
        let (answered, failed, second) = self.0.progress();
        (answered, failed, second.as_ref().map(second_parts))
    }

    fn take_answers(&self, py: Python<'_>) -> Vec<FreshParts> {
        let fresh = self.0.take_answers().into_iter();
        fresh
            .map(|new| (new.call, new.distinct, new.counts, PyBytes::new(py, &new.answer).unbind()))
            .collect()
    }

    fn totals(&self) -> PyResult<TotalsParts> {
        let totals = self.0.take_totals().ok_or_else(|| PyRuntimeError::new_err("the run has not ended"))?;
        let totals = totals.map_err(PyOSError::new_err)?;
        let tally = totals.tally;
        Ok(TotalsParts {
            elapsed_ns: tally.end_ns.max(tally.last_ns).saturating_sub(tally.begin_ns),
            calls: tally.calls,
            answered: tally.answered,
            rows: tally.rows,
            late: tally.late,
            held: tally.held,
            unsent: tally.unsent,
            unreadable: tally.unreadable.into_iter().collect(),
            latencies: tally.latencies.buckets(),
            max_us: tally.latencies.max(),
            lags: tally.lags.buckets(),
            max_lag_us: tally.lags.max(),
            errors: tally
                .errors
                .into_iter()
                .map(|((code, reason), (count, message))| (code, reason, count, message))
                .collect(),
            seconds: tally.seconds.iter().map(second_parts).collect(),
            answers: totals.answers,
            cpu_ns: totals.work.cpu_ns,
            queued_ns: totals.work.queued_ns,
            measured_ns: totals.measured_ns,
        })
    }
}

#[pymodule]
fn scorewire_loadtest_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<PyRun>()
}
