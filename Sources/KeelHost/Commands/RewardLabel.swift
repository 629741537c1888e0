import KeelBridge
import KeelCore
import KeelData
import KeelTensor

/// `keel reward label`: a data file with the rewards of its completions, for offline training.
package enum RewardLabel {
    package struct Options: Sendable {
        package var data: String
        /// A file with the sections `rewards` and `combine`.
        package var rewards: String
        /// The file that is written.
        package var out: String
        /// Rows used, from the start of the file; nil = all.
        package var limit: Int?
        package var seed: UInt64 = 0
        package var threads: Int?
        /// Told how many rows are done, now and then.
        package var progress: @Sendable (Int, Int) -> Void = { _, _ in }

        package init(data: String, rewards: String, out: String) {
            self.data = data
            self.rewards = rewards
            self.out = out
        }
    }

    /// Scores every completion and writes its row again with what it got.
    ///
    /// A completion gets `reward` and `rewards: {NAME: number}`; a pair `score_chosen`, `score_rejected` and the like
    /// with names; a ranked list `scores`. The output is whole or absent.
    ///
    /// - Returns: `{"rows", "written", "dropped", "completions", "seconds", "reward": {...}, "rewards": {NAME: {...}}}`.
    /// - Throws: `KeelError` about the config, the data, a reward, or a row that no reward answers.
    package static func run(_ options: Options, catalog: PluginCatalog) throws -> JSON {
        let begin = Clock.now()
        let (config, choices, _) = try RunConfig.loadRewards(options.rewards, catalog: catalog)
        let data = try config.scoredRows(options.data, single: .scored, list: .ranked)
        let count = min(options.limit ?? data.count, data.count)
        let set = try RewardSet(
            config, choices, catalog: catalog, seed: options.seed,
            models: .init(device: Device.cpu(threads: options.threads ?? Machine.cores)))
        if config.rewards.contains(where: { $0.normalize != .none })
            || config.combine.effectiveTransform != .none
            || config.combine.rule == .normalizeThenSum
        {
            Log.notice(
                "scores are written as they are: normalising and transforming is left to training")
        }
        var labels = Labels(names: set.names)
        try AtomicWrite.file(options.out) { output in
            var composition = set.composition
            let batches = RewardBatches(set) { rows, answers in
                let known = set.describe(rows, answers)
                let combined = try composition.combine(
                    answers.map { $0.map { PluginEval.decimal($0.value) } }, rows: known,
                    purpose: .evaluation
                ) { data.place(Int(rows[$0].id)) }
                for number in rows.indices {
                    let line = labels.add(
                        Int(rows[number].id), combined.rewards[number],
                        answers.map { PluginEval.decimal($0[number].value) }, data)
                    if let line { try output.write(line + "\n") }
                }
                options.progress(labels.rows, count)
            }
            for index in 0..<count {
                let spoken = try data.texts(index).spoken
                let json = data.row(index)
                for text in spoken.completions {
                    try batches.add(
                        RewardRow(
                            id: UInt64(index), prompt: Array(spoken.prompt.utf8),
                            response: Array(text.utf8), row: json))
                }
            }
            try batches.finish()
        }
        return labels.report(seconds: Clock.now() - begin)
    }

    /// The report for people.
    package static func table(_ report: JSON) -> String {
        let number = { (json: JSON?) in Parameter.brief(json?.double ?? .nan) }
        var lines = [["", "scored", "mean", "std", "min", "max"]]
        func add(_ name: String, _ facts: JSON?) {
            lines.append(
                [name] + ["scored", "mean", "std", "min", "max"].map { number(facts?[$0]) })
        }
        for (name, facts) in report["rewards"]?.object ?? JSONObject() { add(name, facts) }
        add("reward", report["reward"])
        let count = { (key: String) in report[key]?.int ?? 0 }
        return PluginReport.table(lines).joined(separator: "\n")
            + "\n\(count("written")) of \(count("rows")) rows written"
            + (count("dropped") > 0 ? ", \(count("dropped")) dropped: no reward applies" : "")
    }
}

extension RunConfig {
    /// The rows of a file that rewards are to score, with all their completions, as its first row has them.
    ///
    /// - Parameters:
    ///   - single: what rows of one completion are read as.
    ///   - list: what rows of many are.
    /// - Throws: `KeelError` (noInput, badData).
    func scoredRows(_ path: String, single: RowKind, list: RowKind) throws -> Dataset {
        let reader = try JSONLReader(path)
        let first = reader.count > 0 ? try reader.json(0) : .null
        let has = { (field: String) in first[data.renames[field] ?? field] != nil }
        let wanted =
            has("completion")
            ? single
            : has("chosen") ? .preference : has("completions") ? list : single
        return try Dataset.load(
            path: path, wanted: wanted, columns: data.renames, layout: RowLayout(data.type))
    }
}

/// Completions that come in one after the other, and the rows that they make.
private struct Labels {
    let names: [String]
    /// Rows that are whole.
    private(set) var rows = 0
    private var dropped = 0
    private var completions = 0
    private var rewards: [Double] = []
    private var scores: [[Double]]
    /// Of the row at work: combined, and `[completion][reward]`.
    private var waiting: [(reward: Double, scores: [Double])] = []

    init(names: [String]) {
        self.names = names
        scores = names.map { _ in [] }
    }

    /// - Returns: the row's line when all its completions are there; nil before, and for a row that is dropped.
    mutating func add(
        _ index: Int, _ reward: Double, _ own: [Double], _ data: Dataset
    ) -> String? {
        waiting.append((reward, own))
        completions += 1
        for (number, score) in own.enumerated() { scores[number].append(score) }
        guard waiting.count == Labels.sides(data, index) else { return nil }
        defer { waiting = [] }
        rows += 1
        guard !waiting.contains(where: { $0.reward.isNaN }) else {
            dropped += 1
            return nil
        }
        rewards += waiting.map(\.reward)
        return JSON.object(labelled(index, data)).text()
    }

    private static func sides(_ data: Dataset, _ index: Int) -> Int {
        switch data.kind {
        case .preference: 2
        case .ranked: data.values[index].order?.count ?? 0
        default: 1
        }
    }

    private func labelled(_ index: Int, _ data: Dataset) -> JSONObject {
        var row = data.row(index).object ?? JSONObject()
        let byName = { (own: [Double]) in
            JSON.object(
                JSONObject(
                    pairs: zip(names, own).map { ($0, $1.isNaN ? .null : .double($1)) }))
        }
        switch data.kind {
        case .preference:
            for (side, label) in zip(["chosen", "rejected"], waiting) {
                row["score_\(side)"] = .double(label.reward)
                row["rewards_\(side)"] = byName(label.scores)
            }
        case .ranked:
            // In the order of the file's list, which may not be that of the ranks.
            let order = data.values[index].order ?? []
            let places = order.indices.sorted { order[$0] < order[$1] }
            row["scores"] = .array(places.map { .double(waiting[$0].reward) })
        default:
            row["reward"] = .double(waiting[0].reward)
            row["rewards"] = byName(waiting[0].scores)
        }
        return row
    }

    func report(seconds: Double) -> JSON {
        let facts = { (values: [Double]) in
            JSON.object(
                JSONObject(pairs: Distribution(values).facts.map { ($0.0, .double($0.1)) }))
        }
        return [
            "rows": JSON(rows), "written": JSON(rows - dropped), "dropped": JSON(dropped),
            "completions": JSON(completions), "seconds": .double(seconds),
            "reward": facts(rewards),
            "rewards": .object(JSONObject(pairs: zip(names, scores).map { ($0, facts($1)) })),
        ]
    }
}
