//! What the provisioner keeps: decisions, and records of nodes.

use overlay_protocol::json::Limits;
use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::provisioning::audit::Record;
use overlay_protocol::provisioning::control::{self, InstanceStatus, Pause};

/// Decodes a record as each kind that there is.
///
/// Holds: what is decoded and encoded again is the same; its subject stays within the audit.
pub fn audit(data: &[u8]) {
    let limits = Limits::default();
    let roomy = Limits {
        max_bytes: limits.max_bytes * 8,
        ..limits
    };
    if let Ok(record) = Record::decode(data, &limits) {
        let again = Record::decode(&record.to_cloudevent_json(), &roomy);
        assert_eq!(
            again.expect("what we write decodes"),
            record,
            "a decision changes when written"
        );
        let subject = record.subject();
        assert!(
            subject.starts_with("overlay.audit.provisioning.")
                && overlay_protocol::subject::is_valid(&subject),
            "a decision leaves the audit: {subject}"
        );
        drop(record.to_string());
        let details = record.details.clone();
        let made = Record::new(
            "1",
            record.kind,
            record.identity.clone(),
            record.time,
            details,
        );
        let message = made.details.message.unwrap_or_default();
        assert!(message.len() <= 2048, "a text for people is not bounded");
    }
    if let Ok(mut record) = NodeRecord::decode(data, &limits) {
        let written = record.encode();
        assert!(written.len() < 64 << 10, "a record is not bounded");
        let again = NodeRecord::decode(&written, &roomy).expect("what we write decodes");
        assert_eq!(
            again.encode(),
            written,
            "a record changes when written again"
        );
        record.note_enrolment(1);
        assert!(record.enrolments.len() <= 16, "a record grows");
    }
    drop(control::decode::<Pause>(data, &limits));
    drop(control::decode::<InstanceStatus>(data, &limits));
}
