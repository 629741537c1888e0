import KeelBridge
import KeelCore
import Testing

/// Rewards on raw bytes, as a run calls them.
extension Workbench {
    /// The reward of a plugin, made as a run makes it.
    static func reward(_ plugin: String, _ params: JSON = [:]) throws -> InProcessReward {
        let component = try catalog.find(
            "\(products)/libkeel-\(plugin).so#\(plugin)", kind: .reward)
        let values = try component.validate(params: params.object ?? JSONObject())
        return try InProcessReward(component, catalog: catalog, parameters: values)
    }

    /// The scores of responses, and the metrics of the call.
    static func scores(
        _ plugin: String, _ params: JSON = [:], _ responses: [[UInt8]], prompt: String = "",
        row: JSON = [:]
    ) throws -> (scores: [Double], metrics: [String: Double]) {
        let reward = try reward(plugin, params)
        try reward.submit(
            responses.enumerated().map {
                RewardRow(
                    id: UInt64($0.offset), prompt: Array(prompt.utf8), response: $0.element,
                    row: row)
            }, context: CallContext())
        let scores = try reward.collect().map { Double($0.value) }
        let metrics = reward.takeMetrics().values.map { ($0.name, $0.value) }
        return (scores, Dictionary(metrics, uniquingKeysWith: { $1 }))
    }

    static func scores(_ plugin: String, _ params: JSON, _ responses: [String]) throws -> [Double] {
        try scores(plugin, params, responses.map { Array($0.utf8) }).scores
    }

    /// The text of the error that a plugin refuses its parameters with.
    static func refusal(_ plugin: String, _ params: JSON) throws -> String {
        try #require(throws: KeelError.self) { try reward(plugin, params) }.what
    }

    /// Texts that nobody should send: empty, NUL, not UTF-8, half a character, long.
    static let hostile: [[UInt8]] = [
        [], [0], [0xFF, 0xFE, 0xFF], Array("a\0b".utf8), [0xE2, 0x82], [0xED, 0xA0, 0x80],
        Array("42".utf8) + [0xC3], [UInt8](repeating: 0x61, count: 1 << 20),
        [UInt8](repeating: 0x31, count: 1 << 18), Array(repeating: 0x7B, count: 1 << 16),
    ]
}

/// What every reward of this folder holds to, whatever the text.
@Suite struct HostileTextTests {
    @Test(
        arguments: [
            ("regex", ["pattern": "a+b"]), ("regex", ["pattern": "(\\d+)", "mode": "value"]),
            ("regex", ["pattern": "\\w", "mode": "count"]), ("repetition", [:]),
            ("repetition", ["measure": "per_word", "n": 1]),
            ("exact_answer", ["field": "/answer"]), ("exact_answer", ["extract": "boxed"]),
            ("tfidf_novelty", ["against": "prompt"]), ("tfidf_novelty", [:]), ("judge", [:]),
        ] as [(String, JSON)])
    func givesFiniteScoresOrNone(_ plugin: String, _ params: JSON) throws {
        let (scores, _) = try Workbench.scores(
            plugin, params, Workbench.hostile, prompt: "what is it?", row: ["answer": "42"])
        #expect(scores.count == Workbench.hostile.count)
        #expect(scores.allSatisfy { !$0.isInfinite }, "\(scores)")
        // The same text by itself, and the batch again: the same bits.
        guard plugin != "tfidf_novelty" || params["against"] != nil else { return }
        for (text, score) in zip(Workbench.hostile, scores).prefix(7) {
            let alone = try Workbench.scores(
                plugin, params, [text], prompt: "what is it?", row: ["answer": "42"]
            ).scores
            #expect(alone[0] == score || alone[0].isNaN && score.isNaN)
        }
    }
}
