//! `/metrics`: reads the counters and writes the Prometheus text format.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramProto, LabelPair, Metric, MetricFamily,
    MetricType,
};
use prometheus::{Encoder, TextEncoder};

use super::archive::UploadResult;
use super::branch::RetryOutcome;
use super::counters::Sample;
use super::metrics::{Enforced, GatewayMetrics, KillOutcome, MODES, RouteMetrics, UpstreamMetrics};
use crate::vocab::{By, Clock, Reason};

type Labels<'a> = &'a [(&'a str, &'a str)];

/// Families in the order in which they were first written.
#[derive(Default)]
struct Families {
    order: Vec<MetricFamily>,
    index: HashMap<&'static str, usize>,
}

impl Families {
    fn push(&mut self, name: &'static str, help: &str, kind: MetricType, metric: Metric) {
        let at = *self.index.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            self.order.push(family);
            self.order.len() - 1
        });
        self.order[at].mut_metric().push(metric);
    }

    fn counter(&mut self, name: &'static str, help: &str, labels: Labels<'_>, value: u64) {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, metric);
    }

    fn gauge(&mut self, name: &'static str, help: &str, labels: Labels<'_>, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, metric);
    }

    fn histogram(&mut self, name: &'static str, help: &str, labels: Labels<'_>, sample: &Sample) {
        let mut histogram = HistogramProto::default();
        histogram.set_sample_count(sample.count());
        histogram.set_sample_sum(sample.sum_seconds());
        let buckets = sample.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}

impl GatewayMetrics {
    /// The whole exposition, in the Prometheus text format 0.0.4.
    pub fn exposition(&self) -> String {
        let mut families = Families::default();
        for (name, route) in self.routes.load().iter() {
            collect_route(&mut families, name, route);
        }
        collect_route(&mut families, "none", &self.unmatched);
        for (name, upstream) in self.upstreams.load().iter() {
            collect_upstream(&mut families, name, upstream);
        }
        for (upstream, endpoint, metrics) in self.endpoints.load().iter() {
            families.gauge(
                "seawall_upstream_endpoint_up",
                "Share of the endpoint's addresses that are up; 0 while its name has none.",
                &[("upstream", upstream), ("endpoint", endpoint)],
                metrics.up(),
            );
        }
        for (route, upstream, metrics) in self.branches.load().iter() {
            families.gauge(
                "seawall_breaker_state",
                "0: the breaker lets everything pass, 1: a probe is out or traffic comes back, 2: tripped.",
                &[("route", route), ("upstream", upstream)],
                gauge(&metrics.breaker),
            );
        }
        self.collect_gateway(&mut families);
        let mut all = families.order;
        all.extend(ProcessCollector::for_self().collect());
        let mut out = Vec::new();
        // Encoding fails only on a family without metrics or a failing writer: neither is here.
        if let Err(error) = TextEncoder::new().encode(&all, &mut out) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        // The crate writes Rust's word for infinity; the format has its own.
        let text = String::from_utf8(out).unwrap_or_default();
        text.replace(" inf\n", " +Inf\n")
    }

    fn collect_gateway(&self, f: &mut Families) {
        for (slot, listener) in self.connections.iter().zip(["client", "admin", "probe"]) {
            f.gauge(
                "seawall_connections",
                "Connections open, by listener.",
                &[("listener", listener)],
                gauge(slot),
            );
        }
        f.counter(
            "seawall_panics_total",
            "Panics caught.",
            &[],
            read(&self.panics),
        );
        f.gauge(
            "seawall_switch_errors",
            "Entries of switches.toml in error.",
            &[],
            read(&self.switch_errors) as f64,
        );
        for (slot, result) in self
            .reloads
            .iter()
            .zip(["applied", "unchanged", "rejected"])
        {
            f.counter(
                "seawall_config_reloads_total",
                "Looks at a changed configuration, by what they led to.",
                &[("result", result)],
                read(slot),
            );
        }
        let good = !self.reload_failed.load(Relaxed);
        f.gauge(
            "seawall_config_last_reload_successful",
            "1 if the configuration on disk is the one that holds.",
            &[],
            f64::from(u8::from(good)),
        );
        f.gauge(
            "seawall_config_last_reload_success_timestamp_seconds",
            "When the configuration on disk was last good.",
            &[],
            read(&self.reload_success_unix) as f64,
        );
        f.gauge(
            "seawall_config_hash",
            "CRC32C of the configuration that holds; equal on gateways that agree.",
            &[],
            read(&self.config_hash) as f64,
        );
        self.collect_archive(f);
        let revision = option_env!("SEAWALL_REVISION").unwrap_or("unknown");
        f.gauge(
            "seawall_build_info",
            "Always 1.",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("revision", revision),
            ],
            1.0,
        );
    }
}

impl GatewayMetrics {
    fn collect_archive(&self, f: &mut Families) {
        f.gauge(
            "seawall_archive_journal_bytes",
            "Bytes of the journal's files, each copy counted.",
            &[],
            read(&self.archive.journal_bytes) as f64,
        );
        f.gauge(
            "seawall_archive_oldest_seconds",
            "Age of the oldest record that is in the journal alone; 0 without one.",
            &[],
            self.archive.oldest_seconds(Clock::unix()),
        );
        f.counter(
            "seawall_archive_late_total",
            "Records that a slow disk took after their requests had been refused, or counted as lost.",
            &[],
            read(&self.archive.late),
        );
        f.histogram(
            "seawall_archive_commit_seconds",
            "Writing and syncing a group of records.",
            &[],
            &self.archive.commits.sample(),
        );
        for (result, count) in UploadResult::NAMES.iter().zip(&self.archive.uploads) {
            f.counter(
                "seawall_archive_uploads_total",
                "Tries to put an object into the archive's store.",
                &[("result", result)],
                read(count),
            );
        }
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn gauge(gauge: &AtomicI64) -> f64 {
    gauge.load(Relaxed) as f64
}

fn collect_route(f: &mut Families, route: &str, metrics: &RouteMetrics) {
    for (by, code, count) in metrics.codes.read() {
        f.counter(
            "seawall_requests_total",
            "Requests, by status and who answered.",
            &[
                ("route", route),
                ("code", &code.to_string()),
                ("by", by.as_str()),
            ],
            count,
        );
    }
    for by in By::ALL {
        f.histogram(
            "seawall_request_duration_seconds",
            "From the request head to the end of the response, by who answered.",
            &[("route", route), ("by", by.as_str())],
            &metrics.durations.of(by).sample(),
        );
    }
    let only_route = [("route", route)];
    f.gauge(
        "seawall_requests_in_flight",
        "Requests whose response has not ended.",
        &only_route,
        gauge(&metrics.in_flight),
    );
    f.counter(
        "seawall_request_bytes_total",
        "Body bytes received from clients.",
        &only_route,
        read(&metrics.request_bytes),
    );
    f.counter(
        "seawall_response_bytes_total",
        "Body bytes sent to clients.",
        &only_route,
        read(&metrics.response_bytes),
    );
    f.counter(
        "seawall_client_retries_total",
        "Requests that clients sent again, as far as they are recognised.",
        &only_route,
        metrics.client_retries(),
    );
    for row in &Reason::TABLE {
        f.counter(
            "seawall_refusals_total",
            "Answers that the gateway made itself because it would not or could not proxy.",
            &[("route", route), ("reason", row.name)],
            read(&metrics.refusals[row.reason.index()]),
        );
    }
    for (slot, outcome) in metrics.retries.iter().zip(RetryOutcome::NAMES) {
        f.counter(
            "seawall_retries_total",
            "Failed attempts that the route retries, by what came of it.",
            &[("route", route), ("outcome", outcome)],
            read(slot),
        );
    }
    for (slot, enforced) in metrics.limited.iter().zip(Enforced::NAMES) {
        f.counter(
            "seawall_rate_limited_total",
            "Requests beyond the route's rate limit: refused, or passed in a dry run.",
            &[("route", route), ("enforced", enforced)],
            read(slot),
        );
    }
    collect_kills(f, route, metrics);
}

fn collect_kills(f: &mut Families, route: &str, metrics: &RouteMetrics) {
    f.gauge(
        "seawall_kill_switch_expires_timestamp_seconds",
        "When the next switch of the route ends by itself; 0 when none does.",
        &[("route", route)],
        f64::from_bits(read(&metrics.kill_expires)),
    );
    for (mode, name) in MODES.into_iter().enumerate() {
        let labels = [("route", route), ("mode", name)];
        f.gauge(
            "seawall_kill_switch_active",
            "Share of the route's traffic that the switch takes, 0 to 1.",
            &labels,
            f64::from_bits(read(&metrics.kill_share[mode])),
        );
        f.counter(
            "seawall_kill_dry_run_total",
            "Requests that a kill switch would have answered, were it no dry run.",
            &labels,
            read(&metrics.rehearsed[mode]),
        );
        f.counter(
            "seawall_killed_bytes_total",
            "Body bytes of killed requests.",
            &labels,
            read(&metrics.killed_bytes[mode]),
        );
        for (slot, outcome) in metrics.killed[mode].iter().zip(KillOutcome::NAMES) {
            f.counter(
                "seawall_killed_requests_total",
                "Requests that a kill switch answered, by what became of the payload.",
                &[("route", route), ("mode", name), ("outcome", outcome)],
                read(slot),
            );
        }
    }
}

fn collect_upstream(f: &mut Families, upstream: &str, metrics: &UpstreamMetrics) {
    const HELP: &str = "Attempts at the upstream, by status class or what went wrong.";
    let mut attempts = |outcome: &str, value: u64| {
        let labels = [("upstream", upstream), ("outcome", outcome)];
        f.counter("seawall_upstream_attempts_total", HELP, &labels, value);
    };
    for (slot, class) in metrics
        .classes
        .iter()
        .zip(["1xx", "2xx", "3xx", "4xx", "5xx"])
    {
        attempts(class, read(slot));
    }
    for reason in UPSTREAM_FAILURES {
        attempts(reason.as_str(), read(&metrics.failures[reason.index()]));
    }
    attempts("abandoned", read(&metrics.abandoned));
    let labels = [("upstream", upstream)];
    f.histogram(
        "seawall_upstream_duration_seconds",
        "From the start of an attempt to its response head.",
        &labels,
        &metrics.duration.sample(),
    );
    f.gauge(
        "seawall_upstream_in_flight",
        "Attempts whose response has not ended.",
        &labels,
        gauge(&metrics.in_flight),
    );
    f.gauge(
        "seawall_upstream_concurrency_limit",
        "Requests that may be in flight to the upstream; infinite without a limit.",
        &labels,
        metrics.concurrency_limit(),
    );
}

/// The reasons for which an attempt can fail.
const UPSTREAM_FAILURES: [Reason; 6] = [
    Reason::ConnectFailed,
    Reason::UpstreamReset,
    Reason::UpstreamInvalid,
    Reason::UpstreamTimeout,
    Reason::BodyTooLarge,
    Reason::RequestTimeout,
];
