//! Metrics and health over HTTP/1.1, on a loopback address.
//!
//! `/healthz` answers as long as the process can answer anything. `/readyz` is 200 when the node is open and the store takes
//! messages, else 503; its JSON body says why not. `/metrics` is every metric. Nothing here changes anything.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::bounded::Bounded;
use crate::{Admin, Error};

/// A listener that is bound and not yet served.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    /// Listens on a loopback address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`Error::NotLoopback`] or [`Error::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        let failed = |cause| Error::Bind { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is done and the answers under way are written. Dropping the future stops it, too.
    pub async fn serve(self, admin: Arc<Admin>, shutdown: impl Future<Output = ()> + Send + 'static) {
        let router = Router::new()
            .route("/", get(index))
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .with_state(admin);
        let listener = Bounded::new(self.listener, CONNECTIONS);
        // axum's serve answers accept errors itself and never returns one.
        let _never = axum::serve(listener, router).with_graceful_shutdown(shutdown).await;
    }
}

type Answer = (StatusCode, [(HeaderName, &'static str); 1], String);

async fn index() -> &'static str {
    INDEX
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Answer {
    let mut text = String::new();
    match admin.events.encode(&mut text) {
        Ok(()) => (StatusCode::OK, [(CONTENT_TYPE, events::CONTENT_TYPE)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Answer {
    let readiness = admin.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&readiness) {
        Ok(json) => (status, [(CONTENT_TYPE, "application/json")], json + "\n"),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// More than any monitoring needs.
const CONNECTIONS: usize = 32;

const INDEX: &str = "Gatepost

/metrics   every metric, for Prometheus
/healthz   whether the process is alive
/readyz    whether it takes mail, and why not
";
