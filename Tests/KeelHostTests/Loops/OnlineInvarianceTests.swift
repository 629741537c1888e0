import Foundation
import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelHost

/// The update of every shipped online objective in f64: the same whatever the micro-batches, whether the answers to a
/// prompt stand together and share it, and in which order the groups come.
@Suite struct OnlineInvarianceTests {
    /// An objective with parameters that switch on what looks at more than one row.
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var params: JSONObject = [:]
        var phase = "policy"
        /// Its loss takes whole groups, which must stand together.
        var isCoupled = false

        var testDescription: String {
            "\(name)\(phase == "policy" ? "" : " (\(phase))") \(JSON.object(params).text())"
        }
    }

    static let cases: [Case] = [
        Case(
            name: "ppo",
            params: [
                "kl_coef": 0.1, "ent_coef": 0.02, "dual_clip": 3, "policy_kl_coef": 0.2,
                "ref_kl_coef": 0.1, "sampler_correction": "sequence_truncate",
                "bootstrap_truncated": true,
            ]),
        Case(name: "ppo_max", params: ["ent_coef": 0.01, "whiten_rewards": true]),
        Case(name: "ppo_max", phase: "critic"),
        Case(name: "grpo", params: ["loss_type": "grpo", "kl_coef": 0.1]),
        Case(name: "grpo", params: ["loss_type": "dapo", "mask_truncated_completions": true]),
        Case(name: "grpo", params: ["loss_type": "bnpo", "scale_rewards": "batch"]),
        Case(name: "grpo", params: ["loss_type": "dr_grpo", "scale_rewards": "none"]),
        Case(name: "grpo", params: ["loss_type": "cispo", "off_policy_mask_threshold": 0.01]),
        Case(name: "grpo", params: ["loss_type": "sapo", "top_entropy_quantile": 0.4]),
        Case(name: "grpo", params: ["loss_type": "grpo", "importance_level": "sequence"]),
        Case(name: "rloo", params: ["kl_coef": 0.1, "normalize_advantages": true]),
        Case(name: "reinforce", params: ["kl_coef": 0.1]),
        Case(name: "reinforce", params: ["baseline": "value"]),
        Case(name: "online_dpo", isCoupled: true),
    ]

    private static let products = URL(fileURLWithPath: CommandLine.arguments[0])
        .deletingLastPathComponent().path
    private static let catalog = PluginCatalog(
        searchPaths: [products], cacheFolder: PhaseBench.folder)
    private static let group = 3
    private static let count = 12

    /// Answers to four prompts, three each; one of them was cut off.
    private static func rollout(_ networks: Networks) throws -> Rollout {
        let rows = PhaseBench.rows(count, group: group)
        let own = try SequenceScorer(
            model: networks.policy, temperature: networks.temperature
        ).logprobs(rows).map { $0.map(Double.init) }
        func moved(_ name: String, _ by: Double) -> [[Double]] {
            zip(own, rows).map { cells, row in
                let noise = Generator("\(name) \(row.index) \(row.completions)")
                return zip(cells, noise.doubles(cells.count, -by...by)).map(+)
            }
        }
        return Rollout(
            rows: rows, group: rows.map { Int32($0.index) }, oldLogprobs: moved("old", 0.4),
            behaviorLogprobs: moved("behavior", 0.4), refLogprobs: moved("ref", 0.5),
            rewards: (0..<count).map { Double(($0 * 5) % 7) / 3 - 1 },
            isFinished: (0..<count).map { $0 != 4 }, metrics: [:])
    }

    private static func objective(_ wanted: Case) throws -> ObjectiveInstance {
        let component = try catalog.find(
            "\(products)/libkeel-\(wanted.name).so#\(wanted.name)", kind: .objective)
        return try ObjectiveInstance(
            component, catalog: catalog, parameters: try component.validate(params: wanted.params),
            seed: 1, device: PhaseBench.device, precision: .f64,
            context: CallContext(facts: facts))
    }

    private static let facts: [String: Double] = [
        "num_generations": Double(group), "rows_per_step": Double(count),
        "rollout_rows": Double(count), "max_completion_length": 5,
    ]

    /// Loss and all gradients of one step over the rows of the roll-out, in an order and in micro-batches.
    private static func run(
        _ wanted: Case, _ networks: Networks, order: [Int], microBatchRows: Int
    ) throws -> (loss: Double, gradients: [(name: String, cells: [Double])]) {
        let objective = try objective(wanted)
        let update = try PhaseBench.update(
            objective, networks, phase: wanted.phase, microBatchRows: microBatchRows, facts: facts)
        let whole = try rollout(networks)
        func chosen<T>(_ list: [T]) -> [T] { order.map { list[$0] } }
        let rollout = Rollout(
            rows: chosen(whole.rows), group: chosen(whole.group),
            oldLogprobs: chosen(whole.oldLogprobs),
            behaviorLogprobs: chosen(whole.behaviorLogprobs),
            refLogprobs: whole.refLogprobs.map(chosen), rewards: chosen(whole.rewards),
            isFinished: chosen(whole.isFinished), metrics: [:])
        var columns = rollout.columns()
        if networks.critic != nil {
            columns.columns["old_values"] = try update.constants("values", of: rollout.rows)
            columns.columns["bootstrap_values"] = try update.constants(
                "bootstrap_values", of: rollout.rows)
        }
        let context = update.context(step: 3, epoch: 0)
        try objective.prepare(
            &columns, source: update.source(of: rollout.rows), context: context)
        networks.zeroGradients()
        let outcome = try update.evaluate(
            rows: rollout.rows, columns: columns, isTraining: true, context: context)
        let parameters = update.trainers.flatMap(\.optimizer.parameters)
        return (outcome.loss, parameters.map { ($0.name, $0.gradient.doubles()) })
    }

    @Test(arguments: cases) func theUpdateDoesNotDependOnItsCut(wanted: Case) throws {
        typealias This = OnlineInvarianceTests
        let networks = try PhaseBench.networks(try This.objective(wanted))
        let plain = Array(0..<This.count)
        let whole = try This.run(wanted, networks, order: plain, microBatchRows: This.count)
        #expect(whole.loss.isFinite)
        #expect(whole.gradients.contains { $0.cells.contains { abs($0) > 1e-6 } })

        func expectSame(_ order: [Int], _ size: Int) throws {
            let got = try This.run(wanted, networks, order: order, microBatchRows: size)
            let what = "micro-batches of \(size), order \(order)"
            expectClose(
                [got.loss], [whole.loss], Tolerance(relative: 1e-10, absolute: 1e-12), what)
            for (a, b) in zip(got.gradients, whole.gradients) {
                let largest = b.cells.reduce(0) { max($0, abs($1)) }
                let worst = zip(a.cells, b.cells).reduce(0.0) { max($0, abs($1.0 - $1.1)) }
                #expect(worst <= 1e-10 * max(largest, 1e-3), "\(what), \(a.name): \(worst)")
            }
        }
        for size in wanted.isCoupled ? [3, 6] : [1, 2, 5, 6] { try expectSame(plain, size) }
        // Groups in another order, and, where the loss allows, answers away from their group: each prompt is then
        // computed once per answer instead of once per group.
        try expectSame([9, 10, 11, 3, 4, 5, 0, 1, 2, 6, 7, 8], 6)
        guard !wanted.isCoupled else { return }
        let apart = (0..<This.count).map { $0 % 4 * 3 + $0 / 4 }
        for size in [1, 4, 12] { try expectSame(apart, size) }
    }
}
