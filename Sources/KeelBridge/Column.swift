import KeelCore

/// One named array of a batch: f64 numbers or i32 ids, row-major.
package struct Column: Equatable, Sendable {
    package enum Storage: Equatable, Sendable {
        case doubles([Double])
        case ints([Int32])
    }

    package let shape: [Int]
    package let storage: Storage

    package var count: Int { shape.reduce(1, *) }

    package init(shape: [Int], _ values: [Double]) {
        precondition(
            values.count == shape.reduce(1, *), "\(values.count) values for shape \(shape)")
        self.shape = shape
        storage = .doubles(values)
    }

    package init(shape: [Int], ints: [Int32]) {
        precondition(ints.count == shape.reduce(1, *), "\(ints.count) values for shape \(shape)")
        self.shape = shape
        storage = .ints(ints)
    }

    /// A column of shape [B].
    package init(_ values: [Double]) { self.init(shape: [values.count], values) }

    package init(ints: [Int32]) { self.init(shape: [ints.count], ints: ints) }

    /// The cells as f64, whatever the storage.
    package var values: [Double] {
        switch storage {
        case .doubles(let values): values
        case .ints(let values): values.map(Double.init)
        }
    }

    package var isInteger: Bool {
        if case .ints = storage { true } else { false }
    }

    /// `name [3, 7]`, for messages.
    func described(_ name: String) -> String { "\(name) \(shape)" }
}

/// The rows that one callback sees, column by column.
///
/// Columns are found by name (the plugin contract lists the names). `seq_logprobs` and
/// `mean_logprobs`, with any prefix, follow from `logprobs` and `mask` and need not be there.
package struct ColumnBatch: Sendable {
    /// B: rows, pairs or completions.
    package var rows: Int
    package var columns: [String: Column] = [:]
    /// Text cells: `prompt`, `response`, `reply`; one entry per row, nil = absent.
    package var text: [String: [[UInt8]?]] = [:]
    /// The data set rows.
    package var rowJSON: [JSON] = []
    /// All token ids of each row, prompt first.
    package var tokens: [[Int32]] = []
    /// How many of `tokens` belong to the prompt.
    package var promptLengths: [Int] = []
    /// Permanent ids of the rows: the random numbers of a row depend on it.
    ///
    /// Empty = 0, 1, 2 ...
    package var rowIDs: [UInt64] = []

    package init(rows: Int) {
        self.rows = rows
    }

    package func rowID(_ row: Int) -> UInt64 {
        row < rowIDs.count ? rowIDs[row] : UInt64(row)
    }
}

/// Where in a run a callback happens.
package struct CallContext: Sendable {
    package var step: Int
    package var epoch: Double
    package var phase: String
    /// What `keel_fact` answers beyond step, epoch and seed ("vocab_size", "eos_token_id", ...).
    package var facts: [String: Double]
    /// True when the run is stopping.
    package var isCancelled: @Sendable () -> Bool

    package init(
        step: Int = 0, epoch: Double = 0, phase: String = "policy", facts: [String: Double] = [:],
        isCancelled: @escaping @Sendable () -> Bool = { false }
    ) {
        self.step = step
        self.epoch = epoch
        self.phase = phase
        self.facts = facts
        self.isCancelled = isCancelled
    }
}
