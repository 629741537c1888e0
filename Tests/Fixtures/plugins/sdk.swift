// Uses all that the Swift SDK offers; SDKTests.swift looks at what the host sees of it.
import KeelPlugin

struct Boom: Error, CustomStringConvertible { var description: String { "not a plugin error" } }

/// Throws in the callback that the parameter `fail` names.
func failing(_ wanted: String, _ place: String) throws {
    if wanted == place { throw PluginError(.unsupported, "thrown in \(place)") }
    if wanted == place + "!" { throw Boom() }
}

enum Colour: String, CaseIterable { case red, blue }

final class ProbeReward: TokenRewarding, Asking, Stateful, Extending {
    static let name = "probe_reward"
    static let help = "parameters, texts, ids, questions, state"
    static let needs = ["model_scores?"]
    static let stateVersion: UInt32 = 4

    @Param("fail", "Where to throw.") var fail = ""
    @Param("number", -1.0...1.0, "f64") var number = 0.25
    @Param("count", 0...9, "i64") var count = 3
    @Param("flag", "bool") var flag = true
    @Param("open", "bool or null") var open: Bool? = nil
    @Param("ratio", "f64 or null") var ratio: Double? = 0.5
    @Param("most", "i64 or null") var most: Int? = nil
    @Param("word", "str") var word = "wörd"
    @Param("hint", "str or null") var hint: String? = nil
    @Param("colour", "enum") var colour = Colour.blue
    @Param("numbers", 0.0...9.0, "list") var numbers: [Double] = [1, 2.5]
    @Param("whole", "list of i64") var whole: [Int] = [7]
    @Param("words", "list of str") var words: [String] = ["a \"b\"", "\u{1}"]
    @Param("any", "json") var any: JSONValue = .object([("a", .array([.number(1), .null]))])
    var calls = 0

    required init() {}
    func setup(_ call: Call) throws {
        try failing(fail, "setup")
        guard colour == .blue, numbers == [1, 2.5], words.count == 2 else {
            throw PluginError(.invalid, "colour \(colour), numbers \(numbers), words \(words)")
        }
    }
    func ask(_ sample: Sample) throws -> String? {
        try failing(fail, "ask")
        return sample.row == 0 ? "Is «\(sample.response)» good?" : nil
    }
    func score(_ sample: Sample) throws -> Double? {
        try failing(fail, "score")
        calls += 1
        sample.call.metric("calls", Double(calls), .max)
        if sample.response.isEmpty { return nil }
        if let reply = sample.reply { return reply == "yes" ? 1 : 0 }
        if let score = sample.value("model_scores") { return score }
        return switch sample.field("/what") {
        case "params":
            number + Double(count) + (flag ? 10 : 0) + (open == nil ? 100 : 0) + (ratio ?? 50)
                + (most == nil ? 1000 : 0) + Double(word.utf8.count) + Double(whole[0])
                + (hint == nil ? 10_000 : 0) + (any["a"]?[0]?.number ?? 99)
        case "json": sample.json("/deep")?["list"]?[1]?.number
        case "row": sample.json()?["what"]?.string == "row" ? 2 : 0
        case "ids": Double(sample.promptTokens.count * 10 + sample.tokens.count)
        case "random":
            sample.uniform(3) == sample.uniform(3) && sample.uniform(3) != sample.uniform(4) ? 1 : 0
        default: Double(sample.prompt.utf8.count * 100 + sample.responseBytes.count)
        }
    }
    func tokenRewards(_ sample: Sample) throws -> [Double] {
        try failing(fail, "tokens")
        return sample.tokens.map { Double($0) / 2 }
    }
    func save() throws -> [UInt8] {
        try failing(fail, "save")
        var writer = StateWriter()
        writer.write(calls)
        writer.write([0.5, -.infinity])
        return writer.bytes
    }
    func load(_ bytes: [UInt8], version: UInt32) throws {
        var reader = StateReader(bytes)
        calls = try reader.int()
        guard try reader.doubles() == [0.5, -.infinity] else { throw Boom() }
        try reader.finish()
    }
    static func table(_ id: String) -> UnsafeRawPointer? {
        guard id == "x.probe/1" else { return nil }
        let memory = UnsafeMutablePointer<UInt32>.allocate(capacity: 2)
        memory[0] = 8
        memory[1] = 17
        return UnsafeRawPointer(memory)
    }
}

/// 1 for the longest response of its group; nil for groups of one.
struct ProbeGroup: GroupReward {
    static let name = "probe_group"
    func score(_ samples: [Sample]) throws -> [Double?] {
        let groups = Dictionary(grouping: samples, by: \.group)
        return samples.map { sample in
            guard let others = groups[sample.group], others.count > 1 else { return nil }
            let longest = others.map(\.responseBytes.count).max()
            return sample.responseBytes.count == longest ? 1 : 0
        }
    }
}

/// A group in a group.
struct Lengths: ParameterGroup {
    struct Value: ParameterGroup {
        @Param("value_epochs", 0...100, "Epochs of the value head.") var epochs = 10
    }
    let value = Value()
    @Param("policy_steps", 0...100, "Steps of the policy.") var policySteps = 5
}

struct ProbePhases: Objective, Preparing {
    static let name = "probe_phases"
    static let needs: Needs = []
    static let heads: [Head] = [.attentionPoolValue]
    static let gives = ["advantages", "weight"]
    static let phases = [
        Phase(
            "value", needs: [.scored, .seqValues, .rewards], trains: [.valueHead],
            epochs: "value_epochs", prepares: .dataset),
        Phase(
            "policy", needs: [.pairs, .seqLogprobs, .refSeqLogprobs, .optional(.margin)],
            reduction: .constant, steps: "policy_steps"),
    ]
    @Param("before", "Stands before the group.") var before = 1
    let lengths = Lengths()
    @Param("after", "Stands behind it.") var after = true

    func prepare(_ columns: Columns) throws {
        guard columns.phase == "value" else { return }
        columns.metric("epochs", Double(lengths.value.epochs), .sum)
        let rewards = try columns("rewards").values
        try columns.put("weight", Column(rewards.map { $0 < 0 ? 0 : 1 }))
        columns.metric("kept", Double(rewards.count { $0 >= 0 }), .sum)
    }
    func loss(_ batch: AnyBatch) -> Tensor {
        if batch.phase == "value" {
            return (batch.rows.seqValues - batch.rows.rewards).square()
        }
        let (chosen, rejected) = (batch.pairs.chosen, batch.pairs.rejected)
        return -logSigmoid(chosen.seqLogprobs - rejected.seqLogprobs)
    }
}

/// Σ logprobs² per row, with the gradient given by hand.
struct ProbeExplicit: ExplicitObjective {
    static let name = "probe_explicit"
    static let needs: Needs = [.text, .logprobs]
    func evaluate(_ columns: Columns) throws -> (loss: Column, gradients: [String: Column]) {
        let logprobs = try columns("logprobs")
        let time = logprobs.shape[1]
        let loss = (0..<columns.rows).map { row in
            logprobs.values[row * time..<(row + 1) * time].reduce(0) { $0 + $1 * $1 }
        }
        let slope = Column(logprobs.values.map { 2 * $0 }, shape: logprobs.shape)
        return (Column(loss), ["logprobs": slope])
    }
}

/// Throws in prepare or loss; else one operation after the other that only the SDK's face shows.
struct ProbeLoss: Objective, Preparing, Stateful {
    static let name = "probe_loss"
    static let needs: Needs = [.ranked, .seqLogprobs, .valid, .rank]
    static let gives = ["mine"]
    static let coupled = true
    static let isLinear = true
    static let isNondeterministic = true
    @Param("fail", "Where to throw.") var fail = ""
    func setup(_ call: Call) { call.reduce(.constant, constant: 4) }
    func prepare(_ columns: Columns) throws {
        try failing(fail, "prepare")
        let valid = try columns("valid")
        try columns.put("mine", Column(valid.values.map { $0 * 2 }, shape: valid.shape))
    }
    func loss(_ ranked: Ranked) throws -> Tensor {
        try failing(fail, "loss")
        let x = ranked.seqLogprobs
        let best = x.rows(ranked.constant(Column([0])).truncated(), axis: 1).transposed([0, 1])
        let top = try x.max(axis: 1).values()
        guard top.values.count == ranked.call.rows, ranked.call.isSupported(KEEL_OP_FULL) else {
            throw PluginError(.internalError, "\(top.values)")
        }
        let masked = select(ranked.valid * ranked.column("mine"), x, ranked.call.full(0, [1, 1]))
        return masked.sum(axis: 1) + best.reshaped([-1])
    }
    func save() -> [UInt8] { [] }
    func load(_ bytes: [UInt8], version: UInt32) throws {
        if !bytes.isEmpty { throw PluginError(.state, "\(bytes.count) bytes for an empty state") }
    }
}

/// Token 1 first, then token 2, then the host's choice; the memory counts.
struct ProbeSequence: RememberingTokenSampler {
    static let name = "probe_sequence"
    struct Memory: BitwiseCopyable { var drawn: Int32; var sum: Double }
    func sample(_ logits: Logits, _ memory: inout Memory) throws -> Int? {
        guard memory.drawn < 3 else {
            throw PluginError(.state, "drawn \(memory.drawn), sum \(memory.sum)")
        }
        memory.drawn += 1
        memory.sum += Double(logits.context.count)
        logits[0] = -.infinity
        return memory.drawn < 3 ? Int(memory.drawn) : nil
    }
}

/// The rows with the largest reward so far first.
final class ProbeOrder: Learning, Stateful {
    static let name = "probe_order"
    static let needs = ["rewards"]
    @Param("fail", "Where to throw.") var fail = ""
    var known: [Int: Double] = [:]
    required init() {}
    func order(_ epoch: Epoch) throws -> [Int] {
        try failing(fail, "order")
        let all = (0..<epoch.rows).sorted { (known[$0] ?? 0, $1) > (known[$1] ?? 0, $0) }
        return (0..<epoch.count).map { all[$0 % all.count] }
    }
    func feedback(_ rows: [Int], _ columns: Columns) throws {
        try failing(fail, "feedback")
        for (row, reward) in zip(rows, try columns("rewards").values) { known[row] = reward }
    }
    func save() -> [UInt8] {
        var writer = StateWriter()
        for (row, reward) in known.sorted(by: { $0.key < $1.key }) {
            writer.write(row)
            writer.write(reward)
        }
        return writer.bytes
    }
    func load(_ bytes: [UInt8], version: UInt32) throws {
        var reader = StateReader(bytes)
        for _ in 0..<bytes.count / 16 { known[try reader.int()] = try reader.double() }
        try reader.finish()
    }
}

/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry {
    plugin(
        "test.sdk", "1.2.3", ProbeReward.self, ProbeGroup.self, ProbePhases.self,
        ProbeExplicit.self, ProbeLoss.self, ProbeSequence.self, ProbeOrder.self)
}
