import Foundation
import KeelCore

@testable import KeelBridge

/// What a frozen plugin gives, as text: one line per array, its cells as bit patterns.
struct Corpus {
    let path: String
    /// By name: exact everywhere, or only where the host's mathematics is the recorded one.
    private(set) var exact: [String: String] = [:]
    private(set) var computed: [String: [Double]] = [:]

    init(path: String) throws {
        self.path = path
        try rewards()
        try pairs(.f64)
        try pairs(.f32)
        try phases()
        try explicitGradient()
        try tokens()
        try order()
    }

    private func component(_ name: String) throws -> Component {
        try Zoo.catalog.find("\(path)#\(name)", kind: nil)
    }

    static func bits(_ cells: [Double]) -> String {
        cells.map { String($0.bitPattern, radix: 16) }.joined(separator: " ")
    }

    private static func numbers(_ place: String, _ count: Int) -> [Double] {
        let stream = RandomStream(seed: 11, place: place)
        return (0..<count).map { -3 * stream.uniform(UInt64($0)) }
    }

    // MARK: - Rewards

    private mutating func rewards() throws {
        let component = try component("frozen_reward")
        let rows = ["", "a", "abcdefgh", "abcdefghijkl", "wörter"].enumerated().map { index, text in
            RewardRow(
                id: UInt64(100 + index), prompt: Array("prompt".utf8), response: Array(text.utf8),
                tokens: (0..<Int32(index)).map { $0 * 3 }, promptTokens: [1],
                row: index % 2 == 0 ? [:] : ["bonus": 1], group: Int32(index / 2))
        }
        for (name, params) in [
            ("plain", [:] as JSONObject),
            ("noisy", ["mode": "noisy", "target": 5, "bonus": -0.5, "extra": [0.5, 0.125]]),
        ] {
            let reward = try InProcessReward(
                component, catalog: Zoo.catalog,
                parameters: try component.validate(params: params), name: "frozen", seed: 42)
            for step in 0..<2 {
                try reward.submit(rows, context: CallContext(step: step))
                let scores = try reward.collect().map(\.value)
                exact["reward/\(name)/\(step)"] = scores.map {
                    String($0.bitPattern, radix: 16)
                }.joined(separator: " ")
            }
            exact["reward/\(name)/tokens"] = Corpus.bits(
                reward.columns["token_rewards"]?.values ?? [])
            exact["reward/\(name)/calls"] = "\(reward.takeMetrics()["frozen/calls"] ?? .nan)"
            exact["reward/\(name)/state"] = try reward.save()?.bytes.map { "\($0)" }.joined(
                separator: " ")
        }
        do {
            _ = try InProcessReward(
                component, catalog: Zoo.catalog,
                parameters: try component.validate(params: ["mode": "refuse"]))
        } catch {
            exact["reward/refused"] = "\(error)".contains("mode is refuse") ? "yes" : "\(error)"
        }
    }

    // MARK: - Objectives

    private func objective(
        _ name: String, _ params: JSONObject = [:], _ precision: ObjectiveInstance.Precision
    ) throws -> ObjectiveInstance {
        let component = try component(name)
        return try ObjectiveInstance(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: params),
            device: Zoo.device, precision: precision)
    }

    private mutating func keep(_ name: String, _ result: Evaluation) {
        computed["\(name)/loss"] = [result.loss]
        computed["\(name)/rows"] = result.perRow
        for (column, gradient) in result.gradients {
            computed["\(name)/\(column)"] = gradient.values
        }
        for (metric, value) in result.metrics.values { computed["\(name)/\(metric)"] = [value] }
    }

    private mutating func pairs(_ precision: ObjectiveInstance.Precision) throws {
        let objective = try objective(
            "frozen_pairs", ["beta": 0.3, "label_smoothing": 0.125], precision)
        var batch = ColumnBatch(rows: 4)
        for side in ["chosen", "rejected"] {
            for name in ["logprobs", "ref_logprobs"] {
                batch.columns["\(side).\(name)"] = Column(
                    shape: [4, 3], Corpus.numbers("\(side)/\(name)", 12))
            }
            batch.columns["\(side).mask"] = Column(
                shape: [4, 3], [1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1, 1])
        }
        keep("pairs/\(precision)", try objective.evaluate(batch, context: CallContext()))
    }

    private mutating func phases() throws {
        let objective = try objective("frozen_phases", [:], .f64)
        exact["phases"] = objective.phases.map {
            "\($0.name) \($0.needs.joined(separator: ",")) \($0.trains.joined(separator: ",")) \($0.epochs ?? "-")"
        }.joined(separator: "; ")
        exact["phases/heads"] = objective.component.heads.joined(separator: " ")
        var batch = ColumnBatch(rows: 3)
        batch.columns["seq_values"] = Column(Corpus.numbers("seq_values", 3))
        batch.columns["rewards"] = Column([0.5, -2, 1.25])
        batch.columns["logprobs"] = Column(shape: [3, 4], Corpus.numbers("logprobs", 12))
        batch.columns["old_logprobs"] = Column(shape: [3, 4], Corpus.numbers("old_logprobs", 12))
        batch.columns["mask"] = Column(shape: [3, 4], [1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0])
        keep(
            "phases/value", try objective.evaluate(batch, context: CallContext(phase: "value")))
        let policy = CallContext(phase: "policy")
        try objective.prepare(&batch, context: policy)
        exact["phases/advantages"] = Corpus.bits(batch.columns["advantages"]?.values ?? [])
        exact["phases/weight"] = Corpus.bits(batch.columns["weight"]?.values ?? [])
        keep("phases/policy", try objective.evaluate(batch, context: policy))
    }

    private mutating func explicitGradient() throws {
        var batch = ColumnBatch(rows: 2)
        batch.columns["logprobs"] = Column(shape: [2, 3], [-1, -2, -0.5, -4, -0.25, -1.5])
        batch.columns["mask"] = Column(shape: [2, 3], [1, 1, 1, 1, 1, 0])
        let result = try objective("frozen_grad", [:], .f64).evaluate(
            batch, context: CallContext())
        exact["explicit/rows"] = Corpus.bits(result.perRow)
        exact["explicit/gradient"] = Corpus.bits(result.gradients["logprobs"]?.values ?? [])
    }

    // MARK: - Samplers

    private mutating func tokens() throws {
        let component = try component("frozen_tokens")
        let sampler = try TokenSamplerInstance(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: [:]),
            seed: 42)
        exact["tokens/memory"] = "\(sampler.sequenceBytes)"
        var states = [[UInt8]](repeating: [UInt8](repeating: 0, count: 4), count: 2)
        for step in 0..<4 {
            var logits = (0..<10).map { Float($0) / 4 }
            let chosen = try sampler.sample(
                logits: &logits, vocabulary: 5,
                sequences: [
                    .init(id: 7, tokens: [0, Int32(step % 5)], promptLength: 1),
                    .init(id: 8, tokens: [4, 3], promptLength: 1),
                ], states: &states, context: CallContext(step: step))
            exact["tokens/\(step)"] =
                "\(chosen) \(logits.map { String($0.bitPattern, radix: 16) }) \(states)"
        }
    }

    private mutating func order() throws {
        let component = try component("frozen_order")
        func sampler() throws -> DataSamplerInstance {
            try DataSamplerInstance(
                component, catalog: Zoo.catalog, parameters: try component.validate(params: [:]),
                seed: 42)
        }
        let first = try sampler()
        exact["order/0"] = "\(try first.order(epoch: 0, count: 9))"
        var batch = ColumnBatch(rows: 3)
        batch.columns["rewards"] = Column([1, 0.25, 0.75])
        try first.feedback(rows: [5, 0, 3], batch: batch, context: CallContext())
        exact["order/1"] = "\(try first.order(epoch: 1, count: 9, length: 11))"
        let second = try sampler()
        if let state = try first.save() { try second.load(state) }
        exact["order/resumed"] = "\(try second.order(epoch: 1, count: 9, length: 11))"
    }

    // MARK: - As JSON

    /// The record, to be written down when a corpus is frozen.
    var json: JSON {
        var fixed = JSONObject()
        for (key, text) in exact.sorted(by: { $0.key < $1.key }) { fixed[key] = .string(text) }
        var numbers = JSONObject()
        for (key, cells) in computed.sorted(by: { $0.key < $1.key }) {
            numbers[key] = .string(Corpus.bits(cells))
        }
        return ["exact": .object(fixed), "computed": .object(numbers)]
    }

    /// Where this differs from a record.
    ///
    /// - Parameter isReference: computed numbers must agree bit for bit, else to rounding.
    func differences(from record: JSON, isReference: Bool) -> [String] {
        var out: [String] = []
        let fixed = record["exact"]?.object ?? JSONObject()
        for key in Set(exact.keys).union(fixed.map(\.key)).sorted() {
            let (got, want) = (exact[key] ?? "nothing", fixed[key]?.string ?? "nothing")
            if got != want { out.append("\(key): \(got), recorded \(want)") }
        }
        let numbers = record["computed"]?.object ?? JSONObject()
        for key in Set(computed.keys).union(numbers.map(\.key)).sorted() {
            let got = computed[key] ?? []
            let want = (numbers[key]?.string ?? "").split(separator: " ").map {
                Double(bitPattern: UInt64($0, radix: 16) ?? 0)
            }
            let bound = isReference ? 0 : key.contains("f32") ? 1e-6 : 1e-12
            let agrees =
                got.count == want.count
                && zip(got, want).allSatisfy {
                    $0.bitPattern == $1.bitPattern
                        || abs($0 - $1) <= bound * (1 + abs($1))
                            && !isReference
                }
            if !agrees { out.append("\(key): \(got), recorded \(want)") }
        }
        return out
    }
}
