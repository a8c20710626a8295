//! Sample game services: they answer after a few milliseconds, with a little JSON.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::upstream::RequestBody;

/// Starts one service for each name, on a free port, all on one thread.
pub(super) fn start<'a>(
    names: impl Iterator<Item = &'a Arc<str>>,
) -> io::Result<HashMap<Arc<str>, SocketAddr>> {
    let mut addresses = HashMap::new();
    let mut listeners = Vec::new();
    for (index, name) in names.enumerate() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        addresses.insert(Arc::clone(name), listener.local_addr()?);
        let service = Service {
            name: Arc::clone(name),
            latency: Duration::from_millis(2 + 3 * (index as u64 % 5)),
        };
        listeners.push((listener, Arc::new(service)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("demo-services".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                for (listener, service) in listeners {
                    tokio::spawn(accept(listener, service));
                }
                std::future::pending::<()>().await;
            });
        })?;
    Ok(addresses)
}

struct Service {
    name: Arc<str>,
    latency: Duration,
}

async fn accept(listener: std::net::TcpListener, service: Arc<Service>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(&service, request));
            // A connection that ends badly is the gateway's business, and shown there.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(
    service: &Service,
    request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    let path = request.uri().path().to_owned();
    // What the client sent is read, so that the connection can be used again.
    let _ = RequestBody::incoming(request.into_body()).discard().await;
    tokio::time::sleep(service.latency).await;
    let body = serde_json::json!({ "service": &*service.name, "path": path });
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string());
    Ok(response.unwrap_or_default())
}
