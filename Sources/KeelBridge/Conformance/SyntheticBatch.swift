import KeelCore

/// Makes a batch of numbers for an objective out of its data kind and the columns it needs.
struct SyntheticBatch {
    /// Where on the loss the batch lies.
    struct Point: Sendable {
        var name: String
        /// Reference and sampling log-probabilities are those of the policy: every ratio is 1.
        var isRatioOne = false
        /// Prefixes of the sides whose tokens have log-probability -1e4.
        var extremePrefixes: [String] = []
        /// Only the policy's are, not the reference's.
        var isPolicyAlone = false
        /// Both sides of a pair, all rewards, values and log-probabilities are equal.
        var isTied = false

        static let ordinary = Point(name: "ordinary")
        static let tied = Point(name: "tied", isRatioOne: true, isTied: true)
        static let ratioOne = Point(name: "ratio 1", isRatioOne: true)
        static let improbable = Point(
            name: "log-probability -1e4", isRatioOne: true,
            extremePrefixes: ["", "chosen.", "rejected.", "mismatched."])
        static let chosenImprobable = Point(
            name: "chosen at log-probability -1e4", isRatioOne: true, extremePrefixes: ["chosen."])
        static let rejectedImprobable = Point(
            name: "rejected at log-probability -1e4", isRatioOne: true,
            extremePrefixes: ["rejected."])
        static let chosenLost = Point(
            name: "the policy alone gives chosen -1e4", extremePrefixes: ["chosen."],
            isPolicyAlone: true)
        static let all: [Point] = [
            .ordinary, .tied, .ratioOne, .improbable, .chosenImprobable, .rejectedImprobable,
        ]

        static func extremes(of data: String) -> [Point] {
            data == "pairs"
                ? [.improbable, .chosenImprobable, .rejectedImprobable, .chosenLost]
                : [.improbable]
        }
    }

    var data: String
    var needs: [String]
    /// What `prepare` puts: not made here.
    var gives: [String]
    var point = Point.ordinary
    var rows = 6
    var width = 5
    /// Candidates of a ranked row.
    var candidates = 3

    private static let tokenColumns: Set<String> = [
        "logprobs", "ref_logprobs", "old_logprobs", "behavior_logprobs", "entropy", "values",
        "old_values", "token_rewards", "vocab_logprobs", "mask", "tokens",
    ]

    func make(_ dice: inout Dice) -> ColumnBatch {
        var batch = ColumnBatch(rows: rows)
        let names = needs.map { $0.hasSuffix("?") ? String($0.dropLast()) : $0 }
        var prefixes = data == "pairs" ? ["chosen.", "rejected."] : data == "ranked" ? [] : [""]
        for name in names where !prefixes.contains(ColumnNames.split(name).prefix) {
            let prefix = ColumnNames.split(name).prefix
            if prefix == "" && data == "pairs" || data == "ranked" { continue }
            prefixes.append(prefix)
        }
        for prefix in prefixes { addMask(prefix, to: &batch, &dice) }
        if data == "rollouts" || names.contains("group") {
            batch.columns["group"] = Column(ints: (0..<rows).map { Int32($0 / 3) })
        }
        for name in names where !gives.contains(name) { add(name, to: &batch, &dice) }
        return batch
    }

    /// Trained tokens of each row: one at least, the first row has all.
    private func addMask(_ prefix: String, to batch: inout ColumnBatch, _ dice: inout Dice) {
        var mask = [Double](repeating: 0, count: rows * width)
        var lengths: [Int32] = []
        for row in 0..<rows {
            let length = row == 0 || point.isTied ? width : 1 + dice.below(width)
            lengths.append(Int32(length))
            for at in 0..<length { mask[row * width + at] = 1 }
        }
        batch.columns[prefix + "mask"] = Column(shape: [rows, width], mask)
        batch.columns[prefix + "length"] = Column(ints: lengths)
    }

    private func add(_ name: String, to batch: inout ColumnBatch, _ dice: inout Dice) {
        guard batch.columns[name] == nil else { return }
        let (prefix, base) = ColumnNames.split(name)
        if data == "ranked", let column = ranked(base, batch, prefix: prefix, &dice) {
            batch.columns[name] = column
            return
        }
        if let rule = ColumnNames.derivation(of: name), data != "ranked" {
            return add(rule.source, to: &batch, &dice)
        }
        if SyntheticBatch.tokenColumns.contains(base) {
            batch.columns[name] = tokens(prefix, base, &batch, &dice)
        } else {
            batch.columns[name] = perRow(prefix, base, &dice)
        }
    }

    // MARK: - [B,T]

    private func tokens(
        _ prefix: String, _ base: String, _ batch: inout ColumnBatch, _ dice: inout Dice
    ) -> Column {
        let shape = [rows, width]
        let count = rows * width
        if base == "tokens" {
            return Column(shape: shape, ints: (0..<count).map { _ in Int32(dice.below(64)) })
        }
        if base == "old_values", point.isRatioOne {
            add(prefix + "values", to: &batch, &dice)
            if let values = batch.columns[prefix + "values"] { return values }
        }
        if base.hasSuffix("logprobs"), base != "logprobs", base != "vocab_logprobs" {
            return near(prefix, &batch, &dice)
        }
        let range: ClosedRange<Double> =
            switch base {
            case "logprobs": -3 ... -0.1
            case "vocab_logprobs": -8 ... -4
            case "entropy": 0.5...3
            default: -1...1
            }
        var values = dice.doubles(count, range)
        if point.isTied {
            values = (0..<count).map { base == "logprobs" ? -1 - Double($0 % 3) / 4 : 0.5 }
        }
        if base == "logprobs", point.extremePrefixes.contains(prefix) {
            values = values.map { $0 - 1e4 }
        }
        return Column(shape: shape, values)
    }

    /// The policy's log-probabilities a little moved: reference, sampling.
    private func near(
        _ prefix: String, _ batch: inout ColumnBatch, _ dice: inout Dice
    ) -> Column {
        add(prefix + "logprobs", to: &batch, &dice)
        guard let policy = batch.columns[prefix + "logprobs"] else { return Column([]) }
        if point.isRatioOne { return policy }
        let isFar = point.isPolicyAlone && point.extremePrefixes.contains(prefix)
        return Column(
            shape: policy.shape,
            policy.values.map { $0 + (isFar ? 1e4 : 0) + dice.uniform(-0.3...0.3) })
    }

    // MARK: - [B]

    private func perRow(_ prefix: String, _ base: String, _ dice: inout Dice) -> Column {
        let all = 0..<rows
        switch base {
        case "label": return Column(all.map { Double($0 % 2) })
        case "weight": return Column(all.map { $0 == 1 ? 0.5 : 1 })
        case "finished": return Column(all.map { _ in Double(dice.below(2)) })
        case "group": return Column(ints: all.map { Int32($0 / 3) })
        case "length": return Column(ints: all.map { _ in Int32(1 + dice.below(width)) })
        case "margin": return Column(dice.doubles(rows, 0...2))
        case "rank", "sft_index":
            return Column(ints: all.map { _ in Int32(dice.below(candidates)) })
        default:
            // Rewards of data may be weights, which are never negative.
            let low = base == "rewards" && data != "rollouts" ? 0.0 : -1
            return Column(
                point.isTied ? all.map { _ in 0.5 } : dice.doubles(rows, low...1))
        }
    }

    // MARK: - [B,K]

    /// A column over the candidates of each row; nil for what a ranked row has only once.
    private func ranked(
        _ base: String, _ batch: ColumnBatch, prefix: String, _ dice: inout Dice
    ) -> Column? {
        let shape = [rows, candidates]
        let count = rows * candidates
        switch base {
        case "rank":
            return Column(shape: shape, ints: (0..<count).map { Int32($0 % candidates) })
        case "valid":
            return Column(
                shape: shape,
                (0..<count).map {
                    $0 % candidates == candidates - 1 && $0 / candidates == 1 ? 0 : 1
                })
        case "rewards", "scores":
            return Column(
                shape: shape,
                point.isTied ? (0..<count).map { _ in 0.5 } : dice.doubles(count, -1...1))
        case "seq_logprobs", "ref_seq_logprobs", "old_seq_logprobs", "mean_logprobs",
            "ref_mean_logprobs":
            let policy = batch.columns[
                prefix + (base.hasSuffix("mean_logprobs") ? "mean_" : "seq_") + "logprobs"]
            if let policy, base != "seq_logprobs", base != "mean_logprobs" {
                if point.isRatioOne { return policy }
                return Column(
                    shape: policy.shape, policy.values.map { $0 + dice.uniform(-0.5...0.5) })
            }
            let low = base.hasSuffix("mean_logprobs") ? -3.0 : -12.0
            let isExtreme = !point.extremePrefixes.isEmpty
            return Column(
                shape: shape,
                (0..<count).map { cell in
                    (point.isTied ? low / 2 : dice.uniform(low ... -0.5))
                        - (isExtreme && cell % candidates == 0 ? 1e4 : 0)
                })
        default: return nil
        }
    }
}
