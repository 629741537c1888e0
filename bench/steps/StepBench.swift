import Glibc
import KeelCore
import KeelModel
import KeelTensor

/// One small step of each job, again and again, for counting instructions: `bench/steps/gate.sh`.
///
///     keel-bench-steps JOB COUNT      dpo, sft, grpo, ppo or decode
///
/// A model of 0.2 million random weights and made-up rows, on one thread: what is done depends on nothing but the
/// arguments, so that the difference of two counts is the price of a step.
@main
struct StepBench {
    private let model: Model
    private let critic: Model
    private let optimizer: AdamW

    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let count = Int(arguments[2]) else {
            print("usage: keel-bench-steps dpo|sft|grpo|ppo|decode COUNT")
            exit(ExitCode.usage.rawValue)
        }
        let bench = try StepBench()
        for step in 0..<count {
            switch arguments[1] {
            case "dpo": try bench.preference(step)
            case "sft": try bench.likelihood(step, prompts: 6, samples: 1)
            case "grpo": try bench.rollout(step, samples: 4, hasCritic: false)
            case "ppo": try bench.rollout(step, samples: 1, hasCritic: true)
            case "decode": _ = try bench.generate(step, prompts: 8, samples: 1)
            default:
                print("no job \(arguments[1])")
                exit(ExitCode.usage.rawValue)
            }
        }
    }

    private init() throws {
        let device = Device.cpu(threads: 1)
        let config: JSONObject = [
            "model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 176,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 16, "max_position_embeddings": 256, "tie_word_embeddings": true,
            "eos_token_id": 0,
        ]
        func made() throws -> Model {
            try Model.new(ModelConfig(config, path: "config.json"), seed: 3, device: device)
        }
        model = try made()
        critic = try made()
        optimizer = AdamW(model.parameters)
    }

    /// A text of made-up tokens.
    private func tokens(_ place: String, _ number: Int, _ count: Int) -> [Int32] {
        let stream = RandomStream(seed: 1, place: place, UInt64(number))
        return (0..<count).map { 1 + Int32(stream.uniform(UInt64($0)) * 998) }
    }

    /// Prompts of 20 tokens with `samples` answers of 12 each, the prompt once.
    private func batch(_ step: Int, prompts: Int, samples: Int) -> PackedBatch {
        var ids: [Int32] = []
        var positions: [Int32] = []
        var spans: [(queries: Range<Int>, keys: [Range<Int>])] = []
        var scored: [Int32] = []
        var targets: [Int32] = []
        for prompt in 0..<prompts {
            let shared = tokens("prompt", step * prompts + prompt, 20)
            let start = ids.count
            let rows = start..<start + shared.count
            ids += shared
            positions += (0..<Int32(shared.count))
            spans.append((rows, [rows]))
            for sample in 0..<samples {
                let answer = tokens("answer \(sample)", step * prompts + prompt, 12)
                let own = ids.count..<ids.count + answer.count
                ids += answer
                positions += (0..<Int32(answer.count)).map { Int32(shared.count) + $0 }
                spans.append((own, [rows, own]))
                scored += [Int32(rows.upperBound - 1)] + own.dropLast().map { Int32($0) }
                targets += answer
            }
        }
        return PackedBatch(
            ids: ids, positions: positions, spans: spans, scored: scored, targets: targets)
    }

    /// Pass, gradients of Σ w log p, and a step of the optimizer.
    private func train(_ batch: PackedBatch, weight: (Int, Double) -> Double) throws {
        let tape = Tape(recording: true)
        let scores = try model.logprobs(batch, tape: tape, entropy: true)
        let seeds = scores.logprobs.doubles().enumerated().map { weight($0, $1) }
        tape.backward([
            (
                output: scores.logprobs,
                seed: Tensor(seeds, shape: [seeds.count], dtype: .f32, device: model.device)
            )
        ])
        optimizer.step(learningRate: 1e-4, maxGradNorm: 1)
        model.zeroGradients()
    }

    private func likelihood(_ step: Int, prompts: Int, samples: Int) throws {
        try train(batch(step, prompts: prompts, samples: samples)) { _, _ in -0.01 }
    }

    /// The reference without gradient, then the pair's log-probs against it.
    private func preference(_ step: Int) throws {
        let rows = batch(step, prompts: 4, samples: 2)
        let reference = try critic.logprobs(rows, tape: Tape(recording: false)).logprobs.doubles()
        try train(rows) { i, value in (i / 12 % 2 == 0 ? -0.01 : 0.01) * (1 + value - reference[i])
        }
    }

    private func generate(_ step: Int, prompts: Int, samples: Int) throws -> [Completion?] {
        var settings = GenerationSettings(maxNewTokens: 12, eosIDs: [])
        settings.step = UInt64(step)
        let requests = (0..<prompts * samples).map { i in
            GenerationRequest(
                prompt: tokens("prompt", step * prompts + i / samples, 20), rowID: UInt64(i))
        }
        return try Generator(model, settings).run(requests)
    }

    /// Completions, the critic's states of their tokens, and a step on them.
    private func rollout(_ step: Int, samples: Int, hasCritic: Bool) throws {
        _ = try generate(step, prompts: 2, samples: samples)
        let rows = batch(step, prompts: 2, samples: samples)
        if hasCritic { _ = try critic.logprobs(rows, tape: Tape(recording: false)) }
        try train(rows) { i, _ in i % 24 < 12 ? -0.01 : 0.01 }
    }
}
