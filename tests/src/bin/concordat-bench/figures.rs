//! What stands beside each row: the incumbent's figure (CCF 7.0.0-dev5 with CGS, release build,
//! two x86-64 cores, answering before commit and without fsync) and what we aim at.

/// A row of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Row {
    /// A contract with a new id.
    ContractPut,
    /// A contract that nobody proposed.
    DraftRead,
    /// A contract that members accepted.
    AcceptedRead,
    /// A user document with a new id.
    DocumentPut,
    /// A user document.
    DocumentRead,
    /// A small write, and the answer that it is committed.
    WriteCommitted,
    /// A receipt asked for the first time.
    ReceiptCold,
    /// A receipt asked for again.
    ReceiptWarm,
    /// A secret for recorded evidence of real hardware, the same body each time.
    ReleaseRecorded,
    /// An event under such evidence.
    EventRecorded,
    /// A nonce and a secret for evidence made for it.
    ReleaseFresh,
    /// A nonce and an event under evidence made for it.
    EventFresh,
    /// `set_contract`, proposed and voted by three members.
    VoteCycle,
}

/// Figures of one row; what is absent was not measured or not aimed at.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    /// Operations per second.
    pub(crate) per_s: Option<f64>,
    /// Median in milliseconds.
    pub(crate) p50_ms: Option<f64>,
    /// 99th percentile in milliseconds.
    pub(crate) p99_ms: Option<f64>,
    /// Processor time of the node for one operation, in microseconds.
    pub(crate) node_cpu_us: Option<f64>,
}

/// A row that was measured in full.
const fn measured(per_s: f64, p50_ms: f64, p99_ms: f64, node_cpu_us: f64) -> Figures {
    Figures {
        per_s: Some(per_s),
        p50_ms: Some(p50_ms),
        p99_ms: Some(p99_ms),
        node_cpu_us: Some(node_cpu_us),
    }
}

/// Throughput and processor time to reach.
const fn aimed(per_s: f64, node_cpu_us: f64) -> Figures {
    Figures {
        per_s: Some(per_s),
        node_cpu_us: Some(node_cpu_us),
        ..NONE
    }
}

const NONE: Figures = Figures {
    per_s: None,
    p50_ms: None,
    p99_ms: None,
    node_cpu_us: None,
};

impl Row {
    /// Every row, in the order of the table.
    pub(crate) const ALL: [Self; 13] = [
        Self::ContractPut,
        Self::DraftRead,
        Self::AcceptedRead,
        Self::DocumentPut,
        Self::DocumentRead,
        Self::WriteCommitted,
        Self::ReceiptCold,
        Self::ReceiptWarm,
        Self::ReleaseRecorded,
        Self::EventRecorded,
        Self::ReleaseFresh,
        Self::EventFresh,
        Self::VoteCycle,
    ];

    /// The name, which `--rows` matches.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ContractPut => "contract put",
            Self::DraftRead => "contract read draft",
            Self::AcceptedRead => "contract read accepted",
            Self::DocumentPut => "user document put",
            Self::DocumentRead => "user document read",
            Self::WriteCommitted => "write to committed",
            Self::ReceiptCold => "receipt cold",
            Self::ReceiptWarm => "receipt warm",
            Self::ReleaseRecorded => "attested release recorded",
            Self::EventRecorded => "attested event recorded",
            Self::ReleaseFresh => "attested release fresh",
            Self::EventFresh => "attested event fresh",
            Self::VoteCycle => "propose and votes",
        }
    }

    /// Whether the row runs with one connection only.
    pub(crate) const fn sequential(self) -> bool {
        matches!(self, Self::VoteCycle | Self::ReceiptCold)
    }

    /// What the incumbent did with so many connections.
    pub(crate) const fn incumbent(self, connections: usize) -> Figures {
        match (self, connections) {
            (Self::ContractPut, 1) => measured(872.0, 1.14, 1.75, 609.0),
            (Self::ContractPut, 8) => measured(2157.0, 3.42, 5.34, 488.0),
            (Self::ContractPut, 64) => measured(2106.0, 30.0, 41.8, 512.0),
            (Self::DraftRead, 8) => measured(1228.0, 6.63, 7.71, 843.0),
            (Self::AcceptedRead, 1) => measured(889.0, 1.11, 1.23, 961.0),
            (Self::AcceptedRead, 8) => measured(1180.0, 6.66, 7.81, 878.0),
            (Self::AcceptedRead, 64) => measured(1176.0, 54.4, 64.0, 896.0),
            (Self::DocumentPut, 1) => measured(830.0, 1.14, 3.34, 731.0),
            (Self::DocumentPut, 8) => measured(1726.0, 4.50, 5.68, 606.0),
            (Self::DocumentPut, 64) => measured(1713.0, 36.1, 68.7, 622.0),
            (Self::DocumentRead, 1) => measured(879.0, 1.13, 1.77, 634.0),
            (Self::DocumentRead, 8) => measured(2111.0, 3.40, 6.04, 495.0),
            (Self::DocumentRead, 64) => measured(2182.0, 29.4, 30.8, 487.0),
            (Self::WriteCommitted, 1) => Figures {
                p50_ms: Some(1004.0),
                p99_ms: Some(1008.0),
                ..NONE
            },
            (Self::ReceiptWarm, 8) => Figures {
                p50_ms: Some(5.6),
                ..aimed(1527.0, 680.0)
            },
            (Self::ReceiptCold, _) => Figures {
                p50_ms: Some(2200.0),
                ..NONE
            },
            (Self::EventRecorded | Self::ReleaseRecorded, 1) => measured(91.0, 10.8, 13.0, 10_490.0),
            (Self::EventRecorded | Self::ReleaseRecorded, 8) => measured(94.0, 82.4, 108.0, 10_880.0),
            (Self::VoteCycle, _) => measured(47.0, 21.4, 25.3, 17_900.0),
            _ => NONE,
        }
    }

    /// What we aim at with so many connections.
    pub(crate) const fn aim(self, connections: usize) -> Figures {
        let busy = connections >= 64;
        match self {
            Self::ContractPut if busy => aimed(15_000.0, 60.0),
            Self::AcceptedRead | Self::DraftRead if busy => aimed(30_000.0, 35.0),
            Self::DocumentPut if busy => aimed(12_000.0, 70.0),
            Self::DocumentRead if busy => aimed(25_000.0, 40.0),
            Self::WriteCommitted if !busy => Figures {
                p50_ms: Some(5.0),
                ..NONE
            },
            Self::ReceiptCold | Self::ReceiptWarm => Figures {
                p50_ms: Some(2.0),
                node_cpu_us: Some(150.0),
                ..NONE
            },
            Self::EventRecorded | Self::ReleaseRecorded | Self::EventFresh | Self::ReleaseFresh if busy => {
                Figures {
                    per_s: Some(3000.0),
                    ..NONE
                }
            }
            Self::VoteCycle => Figures {
                p50_ms: Some(6.0),
                node_cpu_us: Some(3000.0),
                ..NONE
            },
            _ => NONE,
        }
    }
}
