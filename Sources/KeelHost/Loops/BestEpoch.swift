import KeelCore

/// Which epoch had the smallest running error: the mean of its batches' errors, taken while the weights move.
///
/// A short last batch counts as much as a full one; of equal epochs the first wins.
struct BestEpoch {
    /// The error of each epoch so far.
    private(set) var errors: [Double] = []
    /// The best epoch so far, from 0.
    private(set) var best = 0
    private var sum = 0.0
    private var batches = 0

    /// No epoch yet.
    init() {}

    /// Takes in the error of a batch.
    mutating func add(_ error: Double) {
        sum += error
        batches += 1
    }

    /// Ends an epoch.
    ///
    /// - Returns: whether it is the best so far.
    mutating func endEpoch() -> Bool {
        errors.append(batches > 0 ? sum / Double(batches) : .infinity)
        (sum, batches) = (0, 0)
        guard errors.count == 1 || errors[errors.count - 1] < errors[best] else { return false }
        best = errors.count - 1
        return true
    }
}

// MARK: - State

extension BestEpoch {
    /// For a checkpoint; doubles keep every bit.
    var json: JSON {
        [
            "errors": .array(errors.map { .double($0) }), "best": JSON(best), "sum": .double(sum),
            "batches": JSON(batches),
        ]
    }

    /// What `json` wrote; nothing of it means a new start.
    init(json: JSON) {
        errors = (json["errors"]?.array ?? []).map { $0.double ?? .infinity }
        best = min(json["best"]?.int ?? 0, max(0, errors.count - 1))
        sum = json["sum"]?.double ?? 0
        batches = json["batches"]?.int ?? 0
    }
}
