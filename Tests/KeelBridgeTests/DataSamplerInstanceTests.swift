import Foundation
import KeelCore
import Testing

@testable import KeelBridge

/// Data samplers in workers and in process.
@Suite struct WorkerDataSamplerTests {
    static let plugin = Result {
        try Zoo.compile(
            Zoo.root.appendingPathComponent("Tests/Fixtures/plugins/priority.c").path, "priority",
            ["-D_GNU_SOURCE", "-lm"])
    }

    private func sampler(
        _ params: JSONObject = [:], inWorker: Bool = true, timeout: Double = 20,
        component name: String? = nil
    ) throws -> DataSamplerInstance {
        let component =
            try name.map { try Zoo.component($0) }
            ?? Zoo.catalog.find(
                "\(try WorkerDataSamplerTests.plugin.get())#priority", kind: .dataSampler)
        let parameters = try component.validate(params: params)
        guard inWorker else {
            return try DataSamplerInstance(
                component, catalog: Zoo.catalog, parameters: parameters, name: "mine", seed: 5)
        }
        return try DataSamplerInstance(
            component, parameters: parameters, name: "mine", seed: 5,
            options: WorkerOptions(timeout: timeout))
    }

    /// Three epochs of ten rows with feedback after every five, and what is seen and kept.
    private func play(_ sampler: DataSamplerInstance) throws -> [String] {
        var seen: [String] = []
        for epoch in 0..<3 {
            let order = try sampler.order(
                epoch: epoch, count: 10, columns: ["length": Column(ints: (0..<10).map { $0 })])
            seen.append("\(order)")
            for step in 0..<2 {
                let rows = Array(order[step * 5..<step * 5 + 5])
                var batch = ColumnBatch(rows: 5)
                batch.columns["loss"] = Column(rows.map { Double($0 * $0) / 7 })
                batch.columns["logprobs"] = Column(shape: [5, 2], Array(repeating: -1, count: 10))
                batch.rowJSON = rows.map { ["number": JSON($0)] }
                batch.tokens = rows.map { [Int32($0), 1] }
                batch.promptLengths = [1, 1, 1, 1, 1]
                try sampler.feedback(
                    rows: rows, batch: batch, context: CallContext(step: epoch * 2 + step))
            }
            seen.append("\(sampler.takeMetrics()["mine/priority"] ?? .nan)")
            seen.append("\(try #require(try sampler.save()).bytes)")
        }
        return seen
    }

    @Test func aWorkerSeesTheSameRowsAsThisProcess() throws {
        let here = try play(sampler(inWorker: false))
        #expect(try play(sampler()) == here)
        #expect(Set(here).count == here.count, "feedback changes something")
        let plain = try sampler(inWorker: false, component: "zoo_shuffle")
        let away = try sampler(component: "zoo_shuffle")
        #expect(try away.order(epoch: 3, count: 50) == plain.order(epoch: 3, count: 50))
        #expect(try away.order(epoch: 0, count: 3, length: 7).count == 7)
        #expect(try away.save() == nil)
    }

    /// A worker that dies once is replaced, with the state that it had: nothing shows.
    @Test(arguments: ["order", "feedback", "save"], ["crash", "hang"])
    func aWorkerThatFailsOnceIsReplaced(stage: String, misdeed: String) throws {
        let marker = "\(Zoo.folder)/marker-\(stage)-\(misdeed)-\(UUID().uuidString)"
        let healthy = try play(sampler(inWorker: false))
        let params: JSONObject = [
            "misdeed": .string(misdeed), "at": .string(stage), "marker": .string(marker),
        ]
        #expect(try play(sampler(params, timeout: misdeed == "hang" ? 1 : 20)) == healthy)
        #expect(Files.exists(marker), "it did not fail at all")
    }

    @Test(arguments: [
        (
            "crash",
            "killed by signal 11 (segmentation fault)\n  it wrote: about to crash",
            "`keel plugin check $LIB` looks for the mistake"
        ),
        ("hang", "no answer within 1 s", "set \"timeout_s\" in its \"run\" higher"),
        ("fail", "told to fail", ""),
    ]) func aSamplerThatFailsAgainIsNamed(_ misdeed: String, _ what: String, _ fix: String) throws {
        let sampler = try sampler(["misdeed": .string(misdeed), "at": "order"], timeout: 1)
        let text = message { _ = try sampler.order(epoch: 4, count: 3) }
            .replacingOccurrences(of: try WorkerDataSamplerTests.plugin.get(), with: "$LIB")
        #expect(
            text == """
                error[plugin]: data sampler "mine" (priority): \(what)
                  at:  $LIB, order, epoch 4
                """ + (fix.isEmpty ? "" : "\n  fix: \(fix)"))
    }

    @Test func aStateThatCannotBeHadEndsTheRun() throws {
        let sampler = try sampler(["misdeed": "crash", "at": "save"])
        let text = message { _ = try play(sampler) }
        #expect(
            text.contains("(priority): save: killed by signal 11 (segmentation fault)"), "\(text)")
    }

    @Test func aRowThatDoesNotExistIsRefused() throws {
        let sampler = try sampler(["outside": true], component: "zoo_shuffle")
        #expect(
            message { _ = try sampler.order(epoch: 4, count: 9) }.contains(
                "put row 9 at place 0 of epoch 4; there are 9 rows"))
    }

    @Test func aStateGoesOn() throws {
        let first = try sampler()
        _ = try play(first)
        let state = try #require(try first.save())
        let (second, third) = (try sampler(), try sampler(inWorker: false))
        try second.load(state)
        try third.load(state)
        let order = try first.order(epoch: 9, count: 10)
        #expect(try second.order(epoch: 9, count: 10) == order)
        #expect(try third.order(epoch: 9, count: 10) == order)
        let text = message { try second.load(Instance.State(version: 1, bytes: [1, 2, 3])) }
        #expect(text.contains("not a state of mine"), "\(text)")
        #expect(
            message { try sampler(component: "zoo_shuffle").load(state) }.contains(
                "has no state, but the checkpoint holds one of 80 bytes"))
    }
}
