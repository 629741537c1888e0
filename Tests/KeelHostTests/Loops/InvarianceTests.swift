import Foundation
import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelHost

/// Loss and every gradient of a step do not depend on how its rows are laid out: padded, packed or with shared
/// prompts, in which micro-batches, in which order, kept or computed again.
///
/// The steps are those of a run, through `PolicyUpdate` and the shipped plugins; the padded and the packed layouts
/// are built here.
@Suite struct InvarianceTests {
    /// Grouped heads; a window and soft caps; learned positions; parallel blocks; norms on heads.
    static let families = ["llama", "gemma2", "gpt2", "gpt_neox", "qwen3", "mistral"]

    enum Method: String, CaseIterable, Sendable {
        case sft, dpo, rloo

        var sides: Sides { Sides(dataKind: self == .dpo ? "pairs" : "text") }
        /// Completions of one prompt that stand together.
        var group: Int { self == .rloo ? 3 : 1 }
    }

    private static let products = URL(fileURLWithPath: CommandLine.arguments[0])
        .deletingLastPathComponent().path
    private static let catalog = PluginCatalog(
        searchPaths: [products], cacheFolder: PhaseBench.folder)

    /// In f64 sums of some hundred terms in another order agree to 1e-13; this is the bound.
    private static let f64 = (loss: 1e-10, gradient: 1e-10)
    /// In f32 each term carries 6e-8 and a gradient sums some thousand, with cancellation: 2e-5 of its
    /// largest cell.
    private static let f32 = (loss: 2e-6, gradient: 2e-5)

    // MARK: - A step

    private struct Step {
        let update: PolicyUpdate
        let rows: [TokenizedRow]
        let columns: ColumnBatch
        var model: Model { update.networks.policy }
    }

    /// Loss and gradients.
    private typealias Outcome = (loss: Double, gradients: [(name: String, cells: [Double])])

    private static func model(_ family: String, _ dtype: DType) throws -> Model {
        let folder = PhaseBench.root.appendingPathComponent("Tests/Fixtures/models/\(family)").path
        return try Model.load(directory: folder, dtype: dtype, device: PhaseBench.device)
    }

    /// Rows longer than the windows; prompts of one token and completions of one token are among them.
    private static func rows(_ method: Method) -> [TokenizedRow] {
        let stream = RandomStream(seed: 8, place: "invariance")
        func ids(_ place: Int, _ count: Int) -> [Int32] {
            (0..<count).map { 3 + Int32(stream.below(500, UInt64(place * 64 + $0))) }
        }
        let prompts = [9, 1, 14, 5]
        let lengths = [6, 1, 11, 3, 8, 2, 12]
        let sides = method.sides.prefixes.count
        let count = method == .rloo ? 9 : 8
        return (0..<count).map { i -> TokenizedRow in
            let place = i / method.group
            let prompt = ids(place, prompts[place % prompts.count])
            let completions = (0..<sides).map { side -> [Int32] in
                let length = lengths[(3 * i + 2 * side) % lengths.count]
                return ids(100 + 2 * i + side, length)
            }
            return TokenizedRow(index: place, prompt: prompt, completions: completions)
        }
    }

    /// Everything a step needs, with constants that depend on the row alone.
    private static func step(
        _ method: Method, _ model: Model, order: [Int]? = nil, microBatchRows: Int = 100
    ) throws -> Step {
        let precision: ObjectiveInstance.Precision = model.dtype == .f64 ? .f64 : .f32
        let component = try catalog.find(
            "\(products)/libkeel-\(method.rawValue).so#\(method.rawValue)", kind: .objective)
        let objective = try ObjectiveInstance(
            component, catalog: catalog, parameters: try component.validate(params: [:]), seed: 1,
            device: PhaseBench.device, precision: precision)
        let update = try PhaseBench.update(
            objective, Networks(policy: model, temperature: 0.9, seed: 9),
            microBatchRows: microBatchRows, facts: ["num_generations": Double(method.group)])
        let all = rows(method)
        let chosen = (order ?? Array(all.indices)).map { all[$0] }
        var columns = ColumnBatch.tokens(of: chosen, method.sides)
        // What `prepare` sees and what a data set brings: of all rows, then in the order of these.
        func noise(_ name: String) -> [[Double]] {
            chosen.flatMap { row in
                row.completions.map { ids in
                    Generator("\(name) \(ids)").doubles(ids.count, -6.5 ... -5.5)
                }
            }
        }
        if method != .sft {
            columns.addTokenColumn("ref_logprobs", noise("ref"), method.sides)
        }
        if method == .rloo {
            columns.addTokenColumn("old_logprobs", noise("old"), method.sides)
            columns.columns["rewards"] = Column(
                (order ?? Array(all.indices)).map { Double(($0 * 5) % 7) / 3 - 1 })
            columns.columns["group"] = Column(ints: chosen.map { Int32($0.index) })
            try update.objective.prepare(&columns, context: update.context(step: 0, epoch: 0))
        }
        return Step(update: update, rows: chosen, columns: columns)
    }

    private static func gradients(_ model: Model) -> [(name: String, cells: [Double])] {
        model.trained.map { ($0.name, $0.gradient.doubles()) }
    }

    /// The step as a run makes it.
    private static func run(_ step: Step) throws -> Outcome {
        step.update.networks.zeroGradients()
        let outcome = try step.update.evaluate(
            rows: step.rows, columns: step.columns, isTraining: true,
            context: step.update.context(step: 3, epoch: 0))
        return (outcome.loss, gradients(step.model))
    }

    /// The same step over a batch that the test has laid out; scored tokens in the order of rows and sides.
    private static func run(_ step: Step, laidOut batch: PackedBatch) throws -> Outcome {
        let update = step.update
        update.networks.zeroGradients()
        let tape = Tape()
        var wanted = Wanted()
        wanted.entropy = true
        let scores = try step.model.outputs(
            batch, wanted, tape: tape, temperature: update.networks.temperature)
        var pass = ColumnPass(packing: Packing(step.rows), rows: step.rows.count)
        pass.add("logprobs", scores.logprobs, .targets)
        var columns = step.columns
        pass.add(to: &columns, update.sides)
        let sums = Reduction.denominator(of: columns)
        let result = try update.objective.evaluate(
            columns, reduction: update.reduction, constant: nil,
            denominator: Denominator(rows: sums.rows, tokens: sums.tokens, groups: sums.groups),
            gradients: true, context: update.context(step: 3, epoch: 0))
        let counts = step.rows.map(\.completions.count)
        tape.backward(pass.seeds(result.gradients, update.sides, counts: counts))
        return (result.loss, gradients(step.model))
    }

    /// Whole sequences side by side, each with a prompt of its own.
    private static func packed(_ rows: [TokenizedRow]) -> PackedBatch {
        let sequences = rows.flatMap { row in row.completions.map { row.prompt + $0 } }
        return PackedBatch(
            sequences: sequences,
            promptLengths: rows.flatMap { row in row.completions.map { _ in row.prompt.count } })
    }

    /// A rectangle: every sequence filled up with an id to the longest one, as other tools lay batches out.
    private static func padded(_ rows: [TokenizedRow], with id: Int32) -> PackedBatch {
        let plain = packed(rows)
        let lengths = plain.layout.spans.map(\.queries.count)
        let width = (lengths.max() ?? 0) + 2
        var ids: [Int32] = []
        var start = 0
        var moved: [Int32] = []
        for (row, length) in lengths.enumerated() {
            ids += plain.ids[start..<start + length]
            ids += [Int32](repeating: id, count: width - length)
            moved += (0..<length).map { Int32(row * width + $0) }
            start += length
        }
        return PackedBatch(
            ids: ids, positions: lengths.flatMap { _ in (0..<Int32(width)) },
            layout: AttentionLayout(lengths: lengths.map { _ in width }),
            scored: plain.scored.map { moved[Int($0)] }, targets: plain.targets)
    }

    private func expectSame(
        _ got: Outcome, _ want: Outcome, _ bound: (loss: Double, gradient: Double), _ what: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        expectClose(
            [got.loss], [want.loss], Tolerance(relative: bound.loss, absolute: bound.loss), what,
            sourceLocation: sourceLocation)
        #expect(got.gradients.map(\.name) == want.gradients.map(\.name))
        for (a, b) in zip(got.gradients, want.gradients) {
            let largest = b.cells.reduce(0) { max($0, abs($1)) }
            let worst = zip(a.cells, b.cells).reduce(0.0) { max($0, abs($1.0 - $1.1)) }
            #expect(
                worst <= bound.gradient * largest,
                "\(what), \(a.name): differs by \(worst) of \(largest)",
                sourceLocation: sourceLocation)
        }
    }

    // MARK: - Laws

    @Test(arguments: families, Method.allCases)
    func layoutsInDoublePrecision(family: String, method: Method) throws {
        try expectInvariant(family, method, .f64, InvarianceTests.f64)
    }

    @Test(arguments: ["llama", "gemma2"], Method.allCases)
    func layoutsInSinglePrecision(family: String, method: Method) throws {
        try expectInvariant(family, method, .f32, InvarianceTests.f32)
    }

    private func expectInvariant(
        _ family: String, _ method: Method, _ dtype: DType,
        _ bound: (loss: Double, gradient: Double)
    ) throws {
        typealias This = InvarianceTests
        let model = try This.model(family, dtype)
        let step = try This.step(method, model)
        let shared = try This.run(step)
        #expect(shared.loss.isFinite)
        #expect(shared.gradients.allSatisfy { $0.cells.contains { $0 != 0 } })
        let note = "\(family), \(method.rawValue), \(dtype)"

        // The prompt of a pair or of a group is computed once.
        let packing = Packing(step.rows)
        let packed = This.packed(step.rows)
        #expect(packing.targets == packed.targets)
        if method != .sft { #expect(packing.ids.count < packed.ids.count - 20) }
        expectSame(try This.run(step, laidOut: packed), shared, bound, "\(note): packed")
        for id in [0, 7] as [Int32] {
            let padded = This.padded(step.rows, with: id)
            expectSame(try This.run(step, laidOut: padded), shared, bound, "\(note): padded")
        }

        for size in [1, 3, 8] {
            let split = try This.step(method, model, microBatchRows: size)
            expectSame(try This.run(split), shared, bound, "\(note): micro-batches of \(size)")
        }

        let count = step.rows.count
        let orders = [Array((0..<count).reversed()), (0..<count).map { ($0 * 5 + 2) % count }]
        for order in orders {
            #expect(Set(order).count == count)
            let other = try This.step(method, model, order: order, microBatchRows: 4)
            expectSame(try This.run(other), shared, bound, "\(note): order \(order)")
        }

        // Recomputation changes no bit.
        model.recomputesActivations = true
        let again = try This.run(step)
        #expect(again.loss.bitPattern == shared.loss.bitPattern, "\(note): recomputed")
        for (a, b) in zip(again.gradients, shared.gradients) {
            #expect(
                a.cells.map(\.bitPattern) == b.cells.map(\.bitPattern),
                "\(note): recomputed, \(a.name)")
        }
    }

    /// An adapter's dropout draws zeros by row and place: layouts leave them alone too, and so does recomputation.
    @Test(arguments: ["llama", "gpt2"], Method.allCases)
    func adaptersWithDropout(family: String, method: Method) throws {
        typealias This = InvarianceTests
        var config = LoRAConfig()
        config.rank = 3
        config.dropout = 0.25
        let model = try This.model(family, .f64).adapted(config, seed: 2)
        for parameter in model.trained {
            let noise = Generator(parameter.name).doubles(parameter.count, -0.2...0.2)
            parameter.assign(Tensor(noise, shape: parameter.shape, device: PhaseBench.device))
        }
        let step = try This.step(method, model)
        let whole = try This.run(step)
        let still = try step.update.evaluate(
            rows: step.rows, columns: step.columns, isTraining: false,
            context: step.update.context(step: 3, epoch: 0))
        // Dropout is there in training, and only there.
        #expect(abs(still.loss - whole.loss) > 1e-6)
        let plain = try This.run(step, laidOut: This.packed(step.rows))
        expectSame(
            (still.loss, []), (plain.loss, []), This.f64, "\(family), \(method.rawValue): plain")
        for size in [1, 4] {
            let split = try This.step(method, model, microBatchRows: size)
            expectSame(try This.run(split), whole, This.f64, "micro-batches of \(size)")
        }
        let count = step.rows.count
        let order = try This.step(method, model, order: (0..<count).reversed())
        expectSame(try This.run(order), whole, This.f64, "reversed")
        model.recomputesActivations = true
        let again = try This.run(step)
        for (a, b) in zip(again.gradients, whole.gradients) {
            #expect(a.cells.map(\.bitPattern) == b.cells.map(\.bitPattern), "\(a.name)")
        }
    }

    /// Heads on the policy, a critic and a reward head: recomputed states give them the same bits.
    @Test(arguments: ["token_values", "rank", "rank_and_write", "actor_critic"])
    func headsOverRecomputedStates(name: String) throws {
        let objective = try PhaseBench.objective(name)
        let networks = try PhaseBench.networks(objective)
        let update = try PhaseBench.update(objective, networks)
        let sides = name.hasPrefix("rank") ? 2 : 1
        let rows = PhaseBench.rows(6, sides: sides, group: sides == 1 ? 2 : 1)
        var columns = ColumnBatch.tokens(
            of: rows, prefixes: sides == 2 ? ["chosen.", "rejected."] : [""])
        if name == "actor_critic" {
            columns.columns["rewards"] = Column([0.5, -1, 0.2, 1.9, 0, 0.3])
            columns.columns["old_values"] = try update.constants("values", of: rows)
            columns.columns["old_logprobs"] = try update.constants("logprobs", of: rows)
            try objective.prepare(&columns, context: update.context(step: 0, epoch: 0))
        }
        func run(recomputing: Bool) throws -> [[UInt8]] {
            networks.policy.recomputesActivations = recomputing
            networks.critic?.recomputesActivations = recomputing
            networks.zeroGradients()
            _ = try update.evaluate(
                rows: rows, columns: columns, isTraining: true,
                context: update.context(step: 1, epoch: 0))
            return update.trainers.flatMap(\.optimizer.parameters).map { $0.gradient.bytes() }
        }
        let kept = try run(recomputing: false)
        #expect(kept.contains { $0.contains { $0 != 0 } })
        #expect(try run(recomputing: true) == kept)
    }
}
