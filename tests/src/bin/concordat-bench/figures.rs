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
    /// Processor time of the node for one operation, in microseconds.
    pub(crate) node_cpu_us: Option<f64>,
}

const fn figures(per_s: f64, p50_ms: f64, node_cpu_us: f64) -> Figures {
    Figures {
        per_s: Some(per_s),
        p50_ms: Some(p50_ms),
        node_cpu_us: Some(node_cpu_us),
    }
}

const NONE: Figures = Figures {
    per_s: None,
    p50_ms: None,
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
            (Self::ContractPut, 1) => figures(872.0, 1.14, 609.0),
            (Self::ContractPut, 8) => figures(2157.0, 3.42, 488.0),
            (Self::ContractPut, 64) => figures(2106.0, 30.0, 512.0),
            (Self::DraftRead, 8) => figures(1228.0, 6.63, 843.0),
            (Self::AcceptedRead, 1) => figures(889.0, 1.11, 961.0),
            (Self::AcceptedRead, 8) => figures(1180.0, 6.66, 878.0),
            (Self::AcceptedRead, 64) => figures(1176.0, 54.4, 896.0),
            (Self::DocumentPut, 1) => figures(830.0, 1.14, 731.0),
            (Self::DocumentPut, 8) => figures(1726.0, 4.50, 606.0),
            (Self::DocumentPut, 64) => figures(1713.0, 36.1, 622.0),
            (Self::DocumentRead, 1) => figures(879.0, 1.13, 634.0),
            (Self::DocumentRead, 8) => figures(2111.0, 3.40, 495.0),
            (Self::DocumentRead, 64) => figures(2182.0, 29.4, 487.0),
            (Self::WriteCommitted, 1) => Figures {
                p50_ms: Some(1004.0),
                ..NONE
            },
            (Self::ReceiptWarm, 8) => figures(1527.0, 5.6, 680.0),
            (Self::ReceiptCold, _) => Figures {
                p50_ms: Some(2200.0),
                ..NONE
            },
            (Self::EventRecorded | Self::ReleaseRecorded, 1) => figures(91.0, 10.8, 10_490.0),
            (Self::EventRecorded | Self::ReleaseRecorded, 8) => figures(94.0, 82.4, 10_880.0),
            (Self::VoteCycle, _) => figures(47.0, 21.4, 17_900.0),
            _ => NONE,
        }
    }

    /// What we aim at with so many connections.
    pub(crate) const fn aim(self, connections: usize) -> Figures {
        let busy = connections >= 64;
        match self {
            Self::ContractPut if busy => Figures {
                p50_ms: None,
                ..figures(15_000.0, 0.0, 60.0)
            },
            Self::AcceptedRead | Self::DraftRead if busy => Figures {
                p50_ms: None,
                ..figures(30_000.0, 0.0, 35.0)
            },
            Self::DocumentPut if busy => Figures {
                p50_ms: None,
                ..figures(12_000.0, 0.0, 70.0)
            },
            Self::DocumentRead if busy => Figures {
                p50_ms: None,
                ..figures(25_000.0, 0.0, 40.0)
            },
            Self::WriteCommitted if !busy => Figures {
                p50_ms: Some(5.0),
                ..NONE
            },
            Self::ReceiptCold | Self::ReceiptWarm => Figures {
                per_s: None,
                ..figures(0.0, 2.0, 150.0)
            },
            Self::EventRecorded | Self::ReleaseRecorded | Self::EventFresh | Self::ReleaseFresh if busy => {
                Figures {
                    per_s: Some(3000.0),
                    ..NONE
                }
            }
            Self::VoteCycle => Figures {
                per_s: None,
                ..figures(0.0, 6.0, 3000.0)
            },
            _ => NONE,
        }
    }
}
