//! What a share of the entries goes through: a span from the first record that is taken in for an entry to the entry's
//! coming back from its stream, when acknowledgements leave; in it one of the append, up to the reply.
//!
//! All of it happens on the bus thread, once for an entry; where nothing is traced it is a look at an option. Of the records
//! a span says how many there are and how large, nothing more.

use hubbub_common::shard::Shard;
use hubbub_common::traces::{attribute, tracer};
use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::packer::Pack;

/// Begins spans, if anything is traced.
#[derive(Debug)]
pub(super) struct Trace(Option<&'static SdkTracer>);

/// Of an entry that is traced; ends when it is dropped.
#[derive(Debug)]
pub(super) struct EntrySpan(Box<Span>);

/// Of an append that is under way; ends when it is dropped.
#[derive(Debug)]
pub(super) struct AppendSpan {
    _span: Box<Span>,
}

impl Trace {
    /// As the settings of this process say.
    pub(super) fn of_process() -> Self {
        Self(tracer())
    }

    /// A record is there from which an entry will be made.
    pub(super) fn begin(&self, shard: Shard) -> Option<EntrySpan> {
        let tracer = self.0?;
        let span = SpanBuilder::from_name("publish").with_kind(SpanKind::Producer);
        let span = span.with_attributes([attribute("hubbub.shard", i64::from(shard.number()))]);
        let span = tracer.build_with_context(span, &Context::new());
        span.is_recording().then(|| EntrySpan(Box::new(span)))
    }

    /// The entry is made, and on its way.
    pub(super) fn append(&self, entry: &mut EntrySpan, pack: &Pack) -> Option<AppendSpan> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let bytes = pack.records.iter().map(Vec::len).sum();
        entry.0.set_attribute(attribute("messaging.batch.message_count", count(pack.records.len())));
        entry.0.set_attribute(attribute("hubbub.records_bytes", count(bytes)));
        let within = Context::new().with_remote_span_context(entry.0.span_context().clone());
        let span = SpanBuilder::from_name("append").with_kind(SpanKind::Client);
        Some(AppendSpan { _span: Box::new(self.0?.build_with_context(span, &within)) })
    }
}

impl EntrySpan {
    /// The entry's senders hear that it failed, or that nobody knows.
    pub(super) fn fail(mut self) {
        self.0.set_status(Status::error("not stored, or nobody knows"));
    }
}
