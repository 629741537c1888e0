import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// Gives the rows of a data set their rewards: those of the data, else those of the configured reward plugins,
/// remembered by content.
struct RowRewards {
    private let config: RunConfig
    private let plugins: [RunPlugins.Choice]
    private let makeSet: () throws -> RewardSet
    /// What becomes of rewards once they are there.
    var transform: RewardTransformChoice { config.data.rewardTransform }
    /// No reward says that it answers otherwise every time.
    let isReplayable: Bool
    /// Where scores are kept between runs; nil keeps none.
    private let cacheFolder: String?
    private let device: Device

    init(
        _ config: RunConfig, _ plugins: RunPlugins, catalog: PluginCatalog, device: Device
    ) {
        self.config = config
        self.device = device
        self.plugins = plugins.rewards
        isReplayable = !plugins.rewards.contains {
            $0.component.flags.contains(.nondeterministic)
        }
        cacheFolder = isReplayable ? Files.userFolder("XDG_CACHE_HOME", ".cache") : nil
        makeSet = {
            try RewardSet(
                config, plugins.rewards, catalog: catalog, seed: UInt64(config.train.seed),
                models: .init(device: device, policy: config.model.path))
        }
    }

    /// Whether a phase cannot do without rewards.
    static func areNeeded(_ needs: [String]) -> Bool {
        needs.contains { !$0.hasSuffix("?") && ColumnNames.split($0).base == "rewards" }
    }

    /// Gives every row of a part its rewards.
    ///
    /// - Throws: `KeelError` or `KeelErrors` (badData) when they are neither in the data nor to be had from
    ///   plugins; what a reward throws.
    func give(to part: inout RunData.Part, name: String, notes: inout [String]) throws {
        try fill(&part, name, &notes)
        RowRewards.warn(of: part, name)
    }

    /// Says what no objective can learn much from, before anything is trained.
    private static func warn(of part: RunData.Part, _ name: String) {
        let rewards = part.tokens.rows.indexes.compactMap { part.values[$0].rewards }
        let all = rewards.joined()
        if let first = all.first, all.count > 1, all.allSatisfy({ $0 == first }) {
            Log.warning(
                "data.\(name): all \(all.count) completions have the reward \(first): there is nothing to prefer; "
                    + "look at the rewards with `keel reward try`, or give the rows others")
        }
    }

    private func fill(
        _ part: inout RunData.Part, _ name: String, _ notes: inout [String]
    ) throws {
        let source = config.data.rewardSource
        let kept = part.tokens.rows.indexes
        if source != .plugins, try takeFromData(&part, kept, name, &notes) { return }
        guard source != .data, !plugins.isEmpty else {
            throw KeelError(
                "data",
                "objective \"\(config.objective.plugin)\" needs a reward for every completion; the rows have none",
                at: part.rows.path,
                fix:
                    "add \"reward\": number to every row, or name plugins in \"rewards\" to score the rows"
                    + (source == .data ? " and set data.reward_source to \"auto\"" : ""),
                code: .badData)
        }
        try run(&part, name, &notes)
    }

    // MARK: - From the data

    /// - Returns: false when the data has no rewards at all.
    private func takeFromData(
        _ part: inout RunData.Part, _ kept: [Int], _ name: String, _ notes: inout [String]
    ) throws -> Bool {
        let given = kept.count { part.values[$0].rewards != nil }
        if given == kept.count {
            notes.append("data.\(name): rewards are the data's")
            return true
        }
        let named = kept.count { part.values[$0].named != nil }
        if given == 0, named == kept.count {
            try combine(&part, kept, name, &notes)
            return true
        }
        guard given > 0 || named > 0 else { return false }
        let (rows, values) = (part.rows, part.values)
        let errors = kept.lazy.filter { values[$0].rewards == nil }.prefix(Dataset.errorLimit)
            .map { index in
                KeelError(
                    "data", "the row has no \"reward\", others have one", at: rows.place(index),
                    fix:
                        "give the row a reward or leave it out, or set data.reward_source to \"plugins\"",
                    code: .badData)
            }
        throw KeelErrors(Array(errors))
    }

    /// One number out of `rewards: {NAME: number}`: by the config's weights where it names them, else their sum.
    private func combine(
        _ part: inout RunData.Part, _ kept: [Int], _ name: String, _ notes: inout [String]
    ) throws {
        let own = config.rewards.map(\.shownName)
        let all = Set(kept.flatMap { part.values[$0].named.map { Array($0.keys) } ?? [] })
        let isConfigured = !own.isEmpty && own.allSatisfy(all.contains)
        var composition = RewardComposition(config)
        if !isConfigured {
            composition = RewardComposition(
                parts: all.sorted().map { .init(name: $0, weight: 1) }, missing: .stop)
        }
        let names = composition.parts.map(\.name)
        let rows = part.rows
        let result = try composition.combine(
            names.map { name in kept.map { part.values[$0].named?[name] ?? .nan } },
            rows: kept.map { index in
                var known = RewardComposition.Row()
                known.group = Int32(index)
                return known
            }
        ) { rows.place(kept[$0]) }
        set(&part, kept, result.rewards, &notes, name)
        notes.append(
            "data.\(name): rewards are the data's \(names.joined(separator: " + "))"
                + (isConfigured ? ", weighted as the config says" : ""))
    }

    // MARK: - From plugins

    private func run(
        _ part: inout RunData.Part, _ name: String, _ notes: inout [String]
    ) throws {
        let rows = part.tokens.rows.shapes
        let cache = RewardCache(
            folder: cacheFolder, key: try key(part), names: config.rewards.map(\.shownName))
        var scores: [[Double]]
        var dropped: Set<Int> = []
        let answers = rows.map(\.completions.count).reduce(0, +)
        if let known = cache.read(count: answers) {
            scores = known
        } else {
            let made = try score(part)
            (scores, dropped) = (made.scores, made.dropped)
            // What stands for a failure is the policy's word, not the reward's: the next run asks again.
            if made.failures == 0 {
                do { try cache.write(scores) } catch let error as KeelError {
                    notes.append("the rewards could not be cached: \(error.what)")
                }
            } else {
                notes.append(
                    "data.\(name): \(made.failures) of \(answers) completions could not be scored: "
                        + "rewards[].run.on_error says what they get")
            }
        }
        var composition = RewardComposition(config)
        let places = rows.flatMap { row in row.completions.map { _ in row.index } }
        let file = part.rows
        var described = rows.flatMap { row in
            let isTagged = RewardSet.isTagged(file.row(row.index), config.combine.activeTag)
            return row.completions.map { completion in
                var known = RewardComposition.Row()
                known.length = completion
                known.isTagged = isTagged
                known.group = Int32(row.index)
                return known
            }
        }
        for completion in dropped { described[completion].isDropped = true }
        let combined = try composition.combine(scores, rows: described) { file.place(places[$0]) }
        set(&part, rows.map(\.index), combined.rewards, &notes, name)
        let titles = config.rewards.map(\.shownName).joined(separator: ", ")
        notes.append("data.\(name): \(answers) completions were scored by \(titles)")
    }

    /// What the plugins say of all completions, in the order of rows and completions.
    private struct Scores {
        /// `[reward][completion]`.
        var scores: [[Double]]
        /// Completions that failed and have no score.
        var dropped: Set<Int> = []
        /// Completions that failed, under whatever policy.
        var failures = 0
    }

    private func score(_ part: RunData.Part) throws -> Scores {
        let set = try makeSet()
        var made = Scores(scores: [[Double]](repeating: [], count: set.runners.count))
        var done = 0
        let batches = RewardBatches(set) { rows, answers in
            for (number, own) in answers.enumerated() {
                made.scores[number] += own.map { Double($0.value) }
            }
            for (number, known) in set.describe(rows, answers).enumerated() {
                if known.isDropped { made.dropped.insert(done + number) }
                if answers.contains(where: { $0[number].isFailed }) { made.failures += 1 }
            }
            done += rows.count
        }
        for row in part.tokens.rows {
            let spoken = try part.rows.texts(row.index).spoken
            let json = part.rows.row(row.index)
            for (text, tokens) in zip(spoken.completions, row.completions) {
                try batches.add(
                    RewardRow(
                        id: UInt64(row.index), prompt: Array(spoken.prompt.utf8),
                        response: Array(text.utf8), tokens: tokens, promptTokens: row.prompt,
                        row: json))
            }
        }
        try batches.finish()
        return made
    }

    /// Names rows and rewards: equal keys, equal scores.
    func key(_ part: RunData.Part) throws -> String {
        var lines = [
            "rewards 2", Build.version, part.rows.contentHash, part.tokens.contentHash,
            String(config.train.seed),
        ]
        for (reward, choice) in zip(config.rewards, plugins) {
            lines += [
                choice.component.sha256, choice.component.name,
                JSON.object(choice.parameters.values).text(), reward.json["model"]?.text() ?? "",
                reward.json["judge"]?.text() ?? "", reward.json["native"]?.text() ?? "",
            ]
            for path in [reward.model?.path, reward.judge?.path] {
                if let path { lines.append(try ModelDirectory(path).contentHash(on: device)) }
            }
        }
        return SHA256.hex(lines.joined(separator: "\n"))
    }

    // MARK: - Both

    /// Puts the candidates of a ranked row in the order of their rewards, best first.
    private func sort(_ part: inout RunData.Part, _ place: Int) {
        let index = part.tokens.rows.index(of: place)
        guard let rewards = part.values[index].rewards else { return }
        let order = rewards.indices.sorted {
            rewards[$0] == rewards[$1] ? $0 < $1 : rewards[$0] > rewards[$1]
        }
        part.tokens.rows.sort(place, by: order)
        part.values[index].rewards = order.map { rewards[$0] }
        part.values[index].order = part.values[index].order.map { known in order.map { known[$0] } }
        part.values[index].sftIndex = part.values[index].sftIndex.flatMap(order.firstIndex(of:))
    }

    /// Writes the rewards of completions to their rows; rows that lack one are dropped.
    private func set(
        _ part: inout RunData.Part, _ kept: [Int], _ rewards: [Double], _ notes: inout [String],
        _ name: String
    ) {
        var next = 0
        var dropped: Set<Int> = []
        for (place, index) in kept.enumerated() {
            let count = part.tokens.rows.shape(of: place).completions.count
            let own = Array(rewards[next..<next + count])
            next += count
            if own.contains(where: \.isNaN) { dropped.insert(index) }
            part.values[index].rewards = own
            if part.rows.kind == .ranked { sort(&part, place) }
        }
        guard !dropped.isEmpty else { return }
        part.tokens.rows.keep { !dropped.contains($0) }
        notes.append(
            "data.\(name): \(dropped.count) rows dropped: a reward failed on them, or none applies")
    }
}
