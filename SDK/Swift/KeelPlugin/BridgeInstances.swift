// Components at work, behind the `self` of the C callbacks.
import CKeel

/// A component at work: what the C callbacks find in `self`, so that they need no type.
class Instance {
    func prepare(_ call: Call) throws {}
    func loss(_ call: Call) throws -> keel_t { keel_t() }
    func ask(_ call: Call, _ count: Int) throws {}
    func score(_ call: Call, _ out: UnsafeMutableBufferPointer<Float>) throws {}
    func sample(
        _ call: Call, _ logits: keel_array, _ memory: UnsafePointer<UnsafeMutableRawPointer?>?,
        _ tokens: UnsafeMutablePointer<Int32>
    ) throws {}
    func order(_ call: Call, _ epoch: Int, _ out: UnsafeMutableBufferPointer<Int64>) throws {}
    func feedback(_ call: Call, _ rows: [Int]) throws {}
    func save(_ call: Call) throws {}
    func load(_ bytes: [UInt8], _ version: UInt32) throws {}
}

/// An instance that holds a component of one type.
class Holder<C: Component>: Instance {
    var component: C

    init(_ call: Call) throws {
        component = C()
        for parameter in parameters(of: component) { parameter.read(call) }
        try component.setup(call)
    }

    /// Lets a trait of the component change it.
    final func change<T>(_ trait: T.Type, _ body: (inout T) throws -> Void) throws {
        guard var changed = component as? T else { return }
        defer { if let component = changed as? C { self.component = component } }
        try body(&changed)
    }

    override func prepare(_ call: Call) throws {
        try change((any Preparing).self) { try $0.prepare(Columns(call: call)) }
    }
    override func save(_ call: Call) throws {
        if let stateful = component as? any Stateful { try call.write(try stateful.save()) }
    }
    override func load(_ bytes: [UInt8], _ version: UInt32) throws {
        try change((any Stateful).self) { try $0.load(bytes, version: version) }
    }
}

final class ObjectiveHolder<O: Objective>: Holder<O> {
    override func loss(_ call: Call) throws -> keel_t { try component.loss(O.Batch(call)).id }
}

final class ExplicitObjectiveHolder<O: ExplicitObjective>: Holder<O> {
    override func loss(_ call: Call) throws -> keel_t {
        let result = try component.evaluate(Columns(call: call, isLoss: true))
        for (name, gradient) in result.gradients.sorted(by: { $0.key < $1.key }) {
            try call.gradient(name, gradient)
        }
        return call.constant(result.loss).id
    }
}

class ScoringHolder<C: Component>: Holder<C> {
    override func ask(_ call: Call, _ count: Int) throws {
        guard let asking = component as? any Asking else { return }
        for row in 0..<count {
            if let question = try asking.ask(Sample(call: call, row: row)) {
                try call.ask(row, question)
            }
        }
    }
}

final class RewardHolder<R: Reward>: ScoringHolder<R> {
    override func score(_ call: Call, _ out: UnsafeMutableBufferPointer<Float>) throws {
        for row in out.indices {
            if let score = try component.score(Sample(call: call, row: row)) {
                out[row] = Float(score)
            }
        }
        guard let perToken = component as? any TokenRewarding else { return }
        var rewards: [[Double]] = []
        for row in out.indices {
            let sample = Sample(call: call, row: row)
            let cells = try perToken.tokenRewards(sample)
            guard cells.count <= sample.tokens.count else {
                throw PluginError(
                    .invalid, "\(cells.count) rewards for \(sample.tokens.count) tokens")
            }
            rewards.append(cells)
        }
        let time = out.indices.map { Sample(call: call, row: $0).tokens.count }.max() ?? 0
        let padded = rewards.flatMap { $0 + [Double](repeating: 0, count: time - $0.count) }
        try call.put("token_rewards", Column(padded, shape: [out.count, time]))
    }
}

final class GroupRewardHolder<R: GroupReward>: ScoringHolder<R> {
    override func score(_ call: Call, _ out: UnsafeMutableBufferPointer<Float>) throws {
        let scores = try component.score(out.indices.map { Sample(call: call, row: $0) })
        guard scores.count == out.count else {
            throw PluginError(.invalid, "\(scores.count) scores for \(out.count) rows")
        }
        for (row, score) in scores.enumerated() { if let score { out[row] = Float(score) } }
    }
}

/// Lends each row of the logits to the sampler, and its sequence's memory.
class SamplingHolder<S: Component>: Holder<S> {
    private var row: Logits?

    func choose(_ logits: Logits, _ memory: UnsafeMutableRawPointer?) throws -> Int? { nil }

    final override func sample(
        _ call: Call, _ logits: keel_array, _ memory: UnsafePointer<UnsafeMutableRawPointer?>?,
        _ tokens: UnsafeMutablePointer<Int32>
    ) throws {
        guard logits.ndim == 2, let data = logits.data else {
            throw PluginError(.invalid, "logits without rows")
        }
        let vocabulary = Int(logits.shape[1])
        let row = self.row ?? Logits(call)
        self.row = row
        for index in 0..<Int(logits.shape[0]) {
            let cells = UnsafeMutableBufferPointer(
                start: data.assumingMemoryBound(to: Float.self) + index * vocabulary,
                count: vocabulary)
            row.load(call, index, UnsafeBufferPointer(cells))
            tokens[index] = try choose(row, memory?[index]).map(Int32.init) ?? -1
            row.store(cells)
        }
    }
}

final class TokenSamplerHolder<S: TokenSampler>: SamplingHolder<S> {
    override func choose(_ logits: Logits, _: UnsafeMutableRawPointer?) throws -> Int? {
        try component.sample(logits)
    }
}

final class RememberingSamplerHolder<S: RememberingTokenSampler>: SamplingHolder<S> {
    override func choose(_ logits: Logits, _ memory: UnsafeMutableRawPointer?) throws -> Int? {
        guard let memory else { throw PluginError(.internalError, "a sequence without memory") }
        var known = memory.loadUnaligned(as: S.Memory.self)
        let token = try component.sample(logits, &known)
        memory.storeBytes(of: known, as: S.Memory.self)
        return token
    }
}

final class DataSamplerHolder<S: DataSampler>: Holder<S> {
    override func order(_ call: Call, _ epoch: Int, _ out: UnsafeMutableBufferPointer<Int64>) throws
    {
        let rows = try component.order(
            Epoch(call: call, number: epoch, rows: call.rows, count: out.count))
        guard rows.count == out.count else {
            throw PluginError(.invalid, "\(rows.count) rows ordered, \(out.count) wanted")
        }
        for (index, row) in rows.enumerated() { out[index] = Int64(row) }
    }
    override func feedback(_ call: Call, _ rows: [Int]) throws {
        try change((any Learning).self) { try $0.feedback(rows, Columns(call: call)) }
    }
}
