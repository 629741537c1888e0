import KeelBridge
import KeelCore

/// Scores a long list of completions batch by batch: memory for one batch, whole groups for rewards that compare.
///
/// Completions of one prompt that stand together are a group.
final class RewardBatches {
    private let runners: [any RewardRunner]
    private let size: Int
    private let answered: ([RewardRow], [[RewardScore]]) throws -> Void
    private var batch: [RewardRow] = []
    private var group: Int32 = -1
    private var lastPrompt: [UInt8] = []

    /// - Parameters:
    ///   - size: rows from which on a batch ends with its group.
    ///   - answered: gets every batch with its scores, `[reward][row]`, in order.
    init(
        _ set: RewardSet, size: Int = 1024,
        answered: @escaping ([RewardRow], [[RewardScore]]) throws -> Void
    ) {
        runners = set.runners
        self.size = size
        self.answered = answered
    }

    /// Adds the next completion; its group is set here.
    func add(_ row: RewardRow) throws {
        var row = row
        if group < 0 || row.prompt != lastPrompt {
            if batch.count >= size { try finish() }
            (group, lastPrompt) = (group + 1, row.prompt)
        }
        row.group = group
        batch.append(row)
    }

    /// Scores what is left.
    ///
    /// - Throws: what a reward throws.
    func finish() throws {
        guard !batch.isEmpty else { return }
        for runner in runners { try runner.submit(batch, context: CallContext()) }
        let scores = try runners.map { try $0.collect() }
        try answered(batch, scores)
        batch = []
    }
}
