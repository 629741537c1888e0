import Foundation
import KeelCore
import Testing

@testable import KeelBridge

/// What a reward sees in a worker is what it sees in process.
struct WorkerSameBitsTests {
    /// Keys and values that a JSON pointer may trip over.
    private static let row: JSON = [
        "answer": "4\u{0}2", "empty": "", "nothing": nil, "yes": true, "no": false, "count": -12,
        "pi": 3.141592653589793, "tenth": 0.1, "huge": 1e300, "whole": 2.0,
        "text \"quoted\"\\\n\t": "line\nbreak \u{2028} \u{7F} \u{1} é 😀 \"q\" \\ /",
        "a/b": "slash", "m~n": "tilde", "": "no name",
        "list": [1, [2, "three", ["four": 4]], nil, "five, ]}", ["x": ["y": ["z": "deep"]]]],
        "object": ["inner": ["k": "v", "e": [:], "l": []], "after": "x"],
    ]
    private static let pointers = [
        "", "/answer", "/empty", "/nothing", "/yes", "/no", "/count", "/pi", "/tenth", "/huge",
        "/whole", "/text \"quoted\"\\", "/a~1b", "/m~0n", "/", "/list", "/list/0", "/list/1",
        "/list/1/1", "/list/1/2/four", "/list/2", "/list/3", "/list/4/x/y/z", "/list/9", "/list/-1",
        "/list/+1", "/list/01", "/list/x", "/object", "/object/inner", "/object/inner/e",
        "/object/inner/l", "/object/after", "/object/after/x", "/object/", "/count/1", "/absent",
        "/answer/0", "/list/1/2/four/", "//", "/~2",
    ]

    private func rows(_ count: Int) -> [RewardRow] {
        let stream = RandomStream(seed: 5, place: "rows")
        return (0..<count).map { at in
            let length = Int(stream.below(9, UInt64(at)))
            var row = RewardRow(
                id: UInt64(at) &* 977 &+ 3, prompt: Array("prompt \(at)".utf8),
                response: Array("ü".utf8) + [0, 0xFF, UInt8(at & 0x7F)],
                tokens: (0..<length).map { Int32(at * 31 + $0) },
                promptTokens: [Int32(at), 5], row: at % 7 == 6 ? [:] : Self.row,
                group: Int32(at / 4), isFinished: at % 3 == 0)
            if at % 2 == 0 { row.modelScore = Double(at) / 3 }
            if at % 4 == 1 { row.reply = Array("reply".utf8) }
            return row
        }
    }

    private let params: JSONObject = [
        "pointers": .string(WorkerSameBitsTests.pointers.joined(separator: "\n")),
        "list": [1, -0.5, 3],
    ]
    private let context = CallContext(
        step: 7, epoch: 1.5, phase: "policy", facts: ["vocab_size": 100, "pad_token_id": 0])

    @Test(arguments: [1, 2, 3])
    func scoresAreTheSameForAnyNumberOfWorkers(_ workers: Int) throws {
        let rows = rows(150)
        let expected = try WorkerPlugins.inProcess("probe", params).score(rows, context: context)
        let reward = try WorkerPlugins.reward(
            "probe", params, options: WorkerOptions(workers: workers, timeout: 60))
        for _ in 0..<2 {
            #expect(try reward.score(rows, context: context).bits == expected.bits)
        }
        // In parts, as a loop that generates hands them over.
        for start in stride(from: 0, to: rows.count, by: 40) {
            try reward.submit(Array(rows[start..<min(start + 40, rows.count)]), context: context)
        }
        #expect(try reward.collect().bits == expected.bits)
    }

    @Test func columnsAndMetricsAreTheSame() throws {
        let rows = rows(30)
        var params = params
        params["columns"] = true
        params["give"] = true
        let inside = try WorkerPlugins.inProcess("probe", params)
        // One call, as in process: a column's shape depends on the rows that are in it.
        let outside = try WorkerPlugins.reward("probe", params)
        #expect(
            try inside.score(rows, context: context).bits
                == outside.score(rows, context: context).bits)
        #expect(inside.columns == outside.columns)
        #expect(outside.columns["token_rewards"]?.shape == [30, 8])
        #expect(inside.takeMetrics() == outside.takeMetrics())
        #expect(outside.takeMetrics() == MetricSums())
    }

    @Test(arguments: [
        "parameter", "type", "string", "list", "undeclared", "unknown", "absent", "row", "field",
        "tokens", "pointer", "gives", "shape", "null", "device", "bits", "write", "ask", "need",
        "reduction", "input", "op", "metric_t", "shape_of", "fail", "wordless", "silent", "strange",
    ])
    func errorsReadTheSame(_ misuse: String) throws {
        let rows = Array(rows(1))
        let params: JSONObject = ["misuse": .string(misuse)]
        let inside = message { _ = try WorkerPlugins.inProcess("probe", params).score(rows) }
        let outside = message { _ = try WorkerPlugins.reward("probe", params).score(rows) }
        #expect(inside == outside)
        #expect(inside.contains("reward \"my_probe\" (probe): "), "\(inside)")
        #expect(inside.contains("row 3"), "\(inside)")
    }

    @Test func aRowsTextIsWhatJSONWrites() throws {
        let stream = RandomStream(seed: 1, place: "json")
        let memory = try WorkerMemory()
        for number in 0..<200 {
            let json = Self.random(stream, UInt64(number) * 1000, depth: 3)
            var writer = WorkerWriter(memory)
            try writer.text(json)
            let text = json.text()
            let written = UnsafeRawBufferPointer(
                start: memory.input + WorkerMemory.page, count: writer.size)
            #expect(written.load(as: UInt64.self) == UInt64(text.utf8.count))
            #expect(Array(written[8..<8 + text.utf8.count]) == Array(text.utf8))
            #expect(written[8 + text.utf8.count] == 0 && writer.size % 8 == 0)
        }
    }

    private static func random(_ stream: RandomStream, _ n: UInt64, depth: Int) -> JSON {
        let pick = stream.below(depth > 0 ? 8 : 6, n)
        func inner(_ k: Int) -> JSON { random(stream, n &* 7 &+ UInt64(k) &+ 1, depth: depth - 1) }
        switch pick {
        case 0: return nil
        case 1: return .bool(stream.bits(n + 1) & 1 == 0)
        case 2: return .int(Int64(bitPattern: stream.bits(n + 1)))
        case 3: return .double(stream.normal(n) * 1e5)
        case 4: return .double([.nan, .infinity, -.infinity, -0.0][Int(stream.below(4, n + 1))])
        case 5:
            let all = Array("ab\"\\\n\t\u{1}\u{7F}\u{2028}é😀â /")
            return .string(
                String((0..<Int(stream.below(9, n + 1))).map { all[($0 * 5 + Int(n)) % all.count] })
            )
        case 6: return .array((0..<Int(stream.below(4, n + 1))).map(inner))
        default:
            return .object(
                JSONObject(
                    pairs: (0..<Int(stream.below(4, n + 1))).map { ("k\($0)\"é", inner($0)) }))
        }
    }
}
