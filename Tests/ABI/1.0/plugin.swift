// The frozen Swift plugin of 1.0: the same components as plugin.c, through the SDK. Never changed; see ../README.md.
import KeelPlugin

final class FrozenReward: TokenRewarding, Stateful {
    static let name = "frozen_reward"
    static let help = "length against a target, bonus, noise"
    static let stateVersion: UInt32 = 3

    enum Mode: String, CaseIterable { case plain, noisy, refuse }
    @Param("target", 1...1_000_000, "wanted bytes") var target = 8
    @Param("bonus", -1.0...1.0, "for rows with a bonus") var bonus = 0.25
    @Param("mode", "what to add") var mode = Mode.plain
    @Param("extra", -9.0...9.0, "added to every score") var extra: [Double] = []
    var calls = 0

    required init() {}
    func setup(_ call: Call) throws {
        if mode == .refuse { throw PluginError(.invalid, "mode is refuse") }
    }
    func score(_ sample: Sample) -> Double? {
        if sample.row == 0 { calls += 1 }
        if sample.row == sample.call.rows - 1 { sample.call.metric("calls", Double(calls)) }
        let length = Double(sample.responseBytes.count)
        guard length > 0 else { return nil }
        let target = Double(target)
        var score = length < target ? length / target : target / length
        score += sample.field("/bonus") != nil ? bonus : 0
        score += mode == .noisy ? sample.uniform(7) : 0
        return extra.reduce(score, +)
    }
    func tokenRewards(_ sample: Sample) -> [Double] { sample.tokens.map { 0.5 * Double($0) } }
    func save() -> [UInt8] {
        var writer = StateWriter()
        writer.write(calls)
        writer.write(bonus)
        return writer.bytes
    }
    func load(_ bytes: [UInt8], version: UInt32) throws {
        guard version == 3 else { throw PluginError(.state, "not a state of version 3") }
        var reader = StateReader(bytes)
        calls = try reader.int()
        _ = try reader.double()
        try reader.finish()
    }
}

struct FrozenPairs: Objective {
    static let name = "frozen_pairs"
    static let needs: Needs = [.pairs, .seqLogprobs, .refSeqLogprobs]
    @Param("beta", 1e-6...100.0, "strength") var beta = 0.1
    @Param("label_smoothing", 0.0...0.5, "noise of the labels") var smoothing = 0.0

    func loss(_ pairs: Pairs) -> Tensor {
        let won = pairs.chosen.seqLogprobs - pairs.chosen.refSeqLogprobs
        let lost = pairs.rejected.seqLogprobs - pairs.rejected.refSeqLogprobs
        let z = beta * (won - lost)
        pairs.metric("margin", z)
        pairs.metric("accuracy", z > 0)
        return (smoothing - 1) * logSigmoid(z) + -smoothing * logSigmoid(-z)
    }
}

struct FrozenPhases: Objective, Preparing {
    static let name = "frozen_phases"
    static let needs: Needs = [.scored, .rewards]
    static let gives = ["advantages", "weight"]
    static let heads: [Head] = [.attentionPoolValue]
    static let phases = [
        Phase(
            "value", needs: [.scored, .seqValues, .rewards], trains: [.valueHead],
            epochs: "value_epochs"),
        Phase(
            "policy", needs: [.scored, .logprobs, .oldLogprobs, .rewards], reduction: .tokenMean),
    ]
    @Param("value_epochs", 0...100, "length of the first phase") var valueEpochs = 3

    func prepare(_ columns: Columns) throws {
        guard columns.phase == "policy" else { return }
        let rewards = try columns("rewards").values
        let mean = rewards.reduce(0) { $0 + $1 / Double(rewards.count) }
        try columns.put("advantages", Column(rewards.map { $0 - mean }))
        try columns.put("weight", Column(rewards.map { $0 < -1 ? 0 : 1 }))
    }
    func loss(_ rows: Rows) -> Tensor {
        if rows.phase == "value" { return (rows.seqValues - rows.rewards).square() }
        let ratio = importanceRatio(rows.logprobs, rows.oldLogprobs)
        let advantages = rows.advantages.asColumn()
        let entropy = maskedMean(rows.logprobs.exp() * rows.logprobs, rows.mask).asColumn() * 0.01
        rows.metric("ratio", ratio, .max)
        return entropy - min(ratio * advantages, ratio.clamped(0.8, 1.2) * advantages)
    }
}

struct FrozenGrad: ExplicitObjective {
    static let name = "frozen_grad"
    static let needs: Needs = [.text, .logprobs]
    func evaluate(_ columns: Columns) throws -> (loss: Column, gradients: [String: Column]) {
        let x = try columns("logprobs")
        let time = x.shape[1]
        var loss = [Double](repeating: 0, count: columns.rows)
        for (i, v) in x.values.enumerated() { loss[i / time] += v * v * v }
        return (Column(loss), ["logprobs": Column(x.values.map { 3 * $0 * $0 }, shape: x.shape)])
    }
}

struct FrozenTokens: RememberingTokenSampler {
    static let name = "frozen_tokens"
    func sample(_ logits: Logits, _ drawn: inout UInt32) -> Int? {
        guard let last = logits.context.last else { return nil }
        logits[Int(last)] = -.infinity
        drawn += 1
        guard drawn % 3 == 0 else { return nil }
        let pick = Int(logits.call.uniform(logits.row, UInt64(drawn)) * Double(logits.count))
        return pick == Int(last) ? (pick + 1) % logits.count : pick
    }
}

final class FrozenOrder: Learning, Stateful {
    static let name = "frozen_order"
    static let needs = ["rewards"]
    var late: [Int] = []
    required init() {}
    func order(_ epoch: Epoch) -> [Int] {
        var all = Array(0..<epoch.rows)
        for i in all.indices.reversed().dropLast() {
            all.swapAt(i, Int(epoch.uniform(UInt64(i)) * Double(i + 1)))
        }
        let sorted = all.filter { !late.contains($0) } + all.filter(late.contains)
        return (0..<epoch.count).map { sorted[$0 % sorted.count] }
    }
    func feedback(_ rows: [Int], _ columns: Columns) throws {
        for (row, reward) in zip(rows, try columns("rewards").values)
        where reward > 0.5 && late.count < 4 {
            late.append(row)
        }
    }
    func save() -> [UInt8] {
        var writer = StateWriter()
        writer.write(late.map(Double.init))
        return writer.bytes
    }
    func load(_ bytes: [UInt8], version: UInt32) throws {
        var reader = StateReader(bytes)
        late = try reader.doubles().map { Int($0) }
        try reader.finish()
    }
}

/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry {
    plugin(
        "keel.frozen-swift-1.0", "1.0.0", FrozenReward.self, FrozenPairs.self, FrozenPhases.self,
        FrozenGrad.self, FrozenTokens.self, FrozenOrder.self)
}
