import Foundation
import KeelCore
import KeelHost
import KeelTensor
import Testing

/// One question of a vector file with what the reference implementation answers.
struct VectorCase: CustomTestStringConvertible, Sendable {
    let file: String
    let json: JSON
    var testDescription: String { "\(file)/\(json["name"]?.string ?? "?")" }

    /// All cases of the files in Tests/Vectors; their origin stands in each file.
    static let all: [VectorCase] = {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Vectors")
        let files = [
            "sft", "dpo", "dpo_variants", "rloo_advantages", "rloo_loss", "ppo", "ppo_max", "grpo",
            "reinforce", "online_dpo", "alol", "lol_baselines", "alol_value_head", "gold", "kto",
            "orpo", "pro", "reward_model", "simpo",
        ]
        return files.flatMap { file -> [VectorCase] in
            let path = folder.appendingPathComponent("\(file).json").path
            guard let bytes = try? Files.read(path), let doc = try? JSON.parse(bytes, name: path)
            else { return [] }
            return (doc["cases"]?.array ?? []).map { VectorCase(file: file, json: $0) }
        }
    }()
}

/// Losses, gradients, metrics and advantages equal those of the methods' reference implementations.
struct VectorTests {
    @Test func allFilesAreThere() { #expect(VectorCase.all.count == 339) }

    @Test(arguments: VectorCase.all) func equalsTheReference(_ vector: VectorCase) throws {
        try check(vector, f32: false)
    }

    @Test(arguments: VectorCase.all) func equalsTheReferenceInSinglePrecision(
        _ vector: VectorCase
    ) throws {
        try check(vector, f32: true)
    }

    private func check(_ vector: VectorCase, f32: Bool) throws {
        let request = try #require(vector.json["request"])
        let answer: JSON
        if let function = vector.json["math"]?.string {
            answer = try MathAnswers.answer(
                function, request, precision: f32 ? .f32 : .f64, device: .cpu(threads: 1))
        } else {
            answer = try Workbench.eval(
                try #require(vector.json["plugin"]?.string), request, f32: f32)
        }
        for check in vector.json["checks"]?.array ?? [] {
            let path = try #require(check["path"]?.string)
            let keep = check["where"]?.cells
            let select = { (cells: [Double]) -> [Double] in
                guard let keep else { return cells }
                return zip(cells, keep).filter { $0.1 != 0 }.map { $0.0 }
            }
            let want = select(try #require(check["want"]?.cells))
            let got = select(try answer.at(path).cells)
            // f32: errors grow with the largest cell, through the sums that all cells share.
            let scale = want.filter(\.isFinite).map(abs).max() ?? 0
            let rtol = f32 ? 0 : check["rtol"]?.double ?? 0
            let atol = f32 ? 1e-4 * scale + 1e-6 : check["atol"]?.double ?? 0
            expectClose(got, want, rtol: rtol, atol: atol, "\(vector.testDescription) \(path)")
        }
    }
}
