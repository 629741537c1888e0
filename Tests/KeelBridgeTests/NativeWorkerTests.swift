import KeelCore
import Testing

@testable import KeelBridge

/// C functions as rewards where they run: in a worker.
@Suite struct NativeWorkerTests {
    private func reward(
        _ symbol: String, _ signature: String, _ params: JSONObject = [:],
        options: WorkerOptions = WorkerOptions(timeout: 20)
    ) throws -> WorkerReward {
        let function = NativeFunction(
            library: try NativeZoo.library.get(), symbol: symbol,
            signature: try NativeSignature(signature))
        return try WorkerReward(
            try function.component(),
            parameters: try function.validate(params: params) { _ in nil },
            name: "mine", options: options)
    }

    private func row(_ id: UInt64, _ response: String, _ row: JSON = [:]) -> RewardRow {
        RewardRow(
            id: id, prompt: Array("Why?".utf8), response: Array(response.utf8),
            tokens: [5, Int32(id)], promptTokens: [1, 2, 3], row: row)
    }

    /// The same scores as `NativeTests` finds in process, for every function that is there.
    @Test(arguments: 0..<NativeTests.cases.count)
    func aWorkerScoresAsThisProcessDoes(_ number: Int) throws {
        let one = NativeTests.cases[number]
        let function = try #require(NativeZoo.functions.first { $0.name == one.name })
        let standard: [String: JSON] = [
            "b": 1, "base": 2, "exponent": 3, "mode": "plain", "bonus": 0.5,
        ]
        var params = JSONObject()
        for name in try NativeSignature(function.signature).parameters.map(\.name) {
            params.append(name, one.params[name] ?? standard[name] ?? .null)
        }
        let reward = try reward(function.symbol, function.signature, params)
        let rows = one.rows.enumerated().map { row(UInt64($0 + 6), $1.0, $1.1) }
        #expect(try reward.score(rows).map { $0.value.description } == one.scores)
    }

    @Test func aCrashNamesTheRowAndTheDeclaration() throws {
        let reward = try reward("crash", "f64(str response)")
        let rows = (0..<40).map { row(UInt64(100 + $0), $0 == 17 ? "crash" : "fine") }
        let text = message { _ = try reward.score(rows) }
        let library = try NativeZoo.library.get()
        #expect(
            text == """
                error[plugin]: reward "mine" (crash): row 117: killed by signal 11 (segmentation fault)
                  at:  \(library), score, step 0, row 117
                  fix: see that the library declares it as: double crash(const char *response); "on_error": "drop_row" in its "run" goes on without such rows
                """)
    }

    @Test func healthyRowsKeepTheirScores() throws {
        let reward = try reward(
            "leave", "f64(str response)",
            options: WorkerOptions(workers: 2, timeout: 20, onError: .dropRow))
        let rows = (0..<40).map { row(UInt64($0), [3, 29].contains($0) ? "leave" : "fine") }
        let scores = try reward.score(rows)
        #expect(scores.indices.filter { scores[$0].isFailed } == [3, 29])
        #expect(scores.filter { $0.value == 1 }.count == 38)
    }

    @Test func aFieldThatIsNoNumberNamesItsRow() throws {
        let reward = try reward("half", "f32(f32 field:/x)")
        let rows = (0..<5).map {
            row(UInt64(50 + $0), "", ["x": $0 == 3 ? "private" : .double(Double($0))])
        }
        let text = message { _ = try reward.score(rows) }
        #expect(
            text.contains(
                "reward \"mine\" (half): the field /x is not a number that a float holds"),
            "\(text)")
        #expect(text.contains("score, step 0, row 53"), "\(text)")
        #expect(!text.contains("private"))
    }

    @Test func aLibraryThatCannotBeLoadedSaysWhy() throws {
        let path = try Zoo.build(
            "needy",
            "double nowhere(const char *); double score(const char *a) { return nowhere(a); }")
        let function = NativeFunction(
            library: path, symbol: "score", signature: try NativeSignature("f64(str response)"))
        let text = message {
            _ = try WorkerReward(
                try function.component(),
                parameters: try function.validate(params: [:]) { _ in nil })
        }
        #expect(text.contains("cannot load the library: "), "\(text)")
        #expect(text.contains("undefined symbol: nowhere"), "\(text)")
    }
}
