import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// `keel eval` from outside, on a tiny model.
@Suite struct EvalTests {
    private let files: TrainingFolder
    private var folder: TemporaryFolder { files.folder }

    init() throws {
        files = try TrainingFolder()
        try folder.write(
            "rewards.json",
            #"{"rewards": [{"plugin": "length", "params": {"target": 8}}, {"plugin": "repetition", "weight": 0.5}]}"#
        )
        try folder.write(
            "base/chat_template.jinja",
            """
            {%- for m in messages %}{{ '<' + m.role + '>' + m.content + '<|endoftext|>' }}{% endfor %}
            {%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}
            """)
    }

    /// The JSON of an evaluation with completions of a few tokens.
    private func eval(_ arguments: [String]) throws -> JSON {
        let outcome = try keel(
            ["eval", "--json", "--max-new-tokens", "6", "--threads", "1"] + arguments,
            in: folder.path)
        try #require(outcome.code == 0, "\(outcome.errors)")
        return try JSON.parse(outcome.output)
    }

    /// A run's own config judges another model where the run's model and data are gone; what rewards name must be there.
    @Test func restOfTheConfigNeedNotBeThere() throws {
        let config = { (rewards: String) in
            """
            { "model": { "path": "gone" }, "data": { "train": "gone.jsonl" }, "reference": { "path": "gone" },
              "objective": { "plugin": "./gone.so" }, "rewards": [ \(rewards) ], "output_dir": "run" }
            """
        }
        try folder.write("run.json", config("{ \"plugin\": \"length\" }"))
        let report = try eval(["--model", "base", "--data", "valid.jsonl", "--rewards", "run.json"])
        #expect(report["model"]?["rewards"]?["length"]?.double != nil)
        try folder.write(
            "run.json", config("{ \"plugin\": \"model\", \"model\": { \"path\": \"gone\" } }"))
        let outcome = try keel(
            ["eval", "--model", "base", "--data", "valid.jsonl", "--rewards", "run.json"],
            in: folder.path)
        #expect(outcome.code == ExitCode.noInput.rawValue)
        #expect(outcome.errors.contains("rewards[0].model.path: no such folder: gone"))
        #expect(!outcome.errors.contains("data.train"))
    }

    @Test func aModelAgainstItselfIsEven() throws {
        let report = try eval([
            "--model", "base", "--against", "base", "--reference", "base", "--data", "valid.jsonl",
            "--rewards", "rewards.json", "--n", "2", "--out", "eval.json",
        ])
        let values = ["win_rate", "ties", "reward_difference", "kl"].map { report[$0]?.double }
        #expect(values == [0.5, 1, 0, 0])
        #expect(report["win_rate_interval_95"] == [0.5, 0.5])
        #expect(report["model"] == report["against"])
        #expect(report["model"]?["kl"]?.double == 0 && report["model"]?["name"] == "base")
        #expect(report["rows"] == 4 && report["n"] == 2)
        let own = report["model"]
        let parts = own?["rewards"]
        let sum = (parts?["length"]?.double ?? .nan) + 0.5 * (parts?["repetition"]?.double ?? .nan)
        #expect(abs(sum - (own?["reward"]?.double ?? .nan)) < 1e-6)
        #expect(own?["rewards_interval_95"]?.object?.keys == ["length", "repetition"])
        #expect(try JSON.parse(folder.read("eval.json")) == report)
        let page = try keel(["report", "trained", "--out", "p.html"], in: folder.path)
        #expect(page.code == KeelCore.ExitCode.noInput.rawValue)
    }

    /// The three ways to name a model with an adapter are one model, and another than the one below.
    @Test func adaptersAreModels() throws {
        try folder.write(
            "lora.json",
            """
            { "model": { "path": "base", "lora": { "r": 4, "lora_alpha": 64 } }, "data": { "train": "train.jsonl" },
              "objective": { "plugin": "sft" },
              "train": { "per_device_train_batch_size": 8, "max_steps": 4, "learning_rate": 0.02, "save_steps": 0,
                "threads": 1 },
              "output_dir": "run" }
            """)
        let trained = try keel(["train", "lora.json"], in: folder.path)
        try #require(trained.code == 0, "\(trained.errors)")
        let more = ["--reference", "base", "--data", "valid.jsonl"]
        let alone = try eval(["--model", "run"] + more)
        let on = try eval(["--model", "base", "--adapter", "run"] + more)
        let numbers = { (report: JSON) in
            report["model"]?.object.map { $0.filter { $0.key != "path" }.map { "\($0)" } }
        }
        #expect(numbers(alone) == numbers(on))
        #expect(alone["model"]?["adapter"] == "run" && alone["model"]?["name"] == "run")
        #expect((alone["model"]?["kl"]?.double ?? 0) != 0)
        let merged = try keel(["model", "merge", "run", "merged"], in: folder.path)
        try #require(merged.code == 0, "\(merged.errors)")
        let whole = try eval(["--model", "merged"] + more)
        for key in ["kl", "perplexity_chosen", "length_tokens"] {
            let (one, other) = (
                alone["model"]?[key]?.double ?? .nan, whole["model"]?[key]?.double ?? .nan
            )
            #expect(abs(one - other) < 1e-3 * max(1, abs(one)), "\(key): \(one) \(other)")
        }
        let against = try eval([
            "--model", "base", "--against", "run", "--rewards", "rewards.json", "--data",
            "valid.jsonl",
        ])
        #expect(against["against"]?["adapter"] == "run" && against["win_rate"]?.double != nil)
        // The other commands name models alike.
        let texts = try ["run", "base"].map { model in
            try keel(
                [
                    "generate", "--model", model, "--prompt", "Tell me", "--max-new-tokens", "6",
                    "--json",
                ]
                    + (model == "base" ? ["--adapter", "run"] : []), in: folder.path
            ).output
        }
        #expect(texts[0] == texts[1] && texts[0].contains("completion_ids"))
    }

    /// The perplexity is that of the ids that training would see, as `keel forward` scores them.
    @Test func perplexityIsThatOfTheDatasAnswers() throws {
        try folder.write(
            "config.json",
            #"{"model": {"path": "base"}, "data": {"train": "valid.jsonl"}, "objective": {"plugin": "dpo"}, "output_dir": "run"}"#
        )
        let inspected = try JSON.parse(
            try keel(["data", "inspect", "config.json", "--rows", "4", "--json"], in: folder.path)
                .output)
        var lines = ""
        var lengths: [(prompt: Int, all: Int)] = []
        for sample in inspected["samples"]?.array ?? [] {
            for completion in sample["completions"]?.array ?? [] {
                let prompt = sample["prompt"]?["ids"]?.array ?? []
                let ids = prompt + (completion["ids"]?.array ?? [])
                lengths.append((prompt.count, ids.count))
                lines += JSON.array(ids).text() + "\n"
            }
        }
        let scored = try keel(["forward", "--model", "base"], in: folder.path, input: lines)
        var sums = [[0.0, 0.0], [0.0, 0.0]]
        for (number, line) in scored.output.split(separator: "\n").enumerated() {
            let logprobs =
                try JSON.parse(String(line))["logprobs"]?.array?.compactMap(\.double) ?? []
            #expect(logprobs.count == lengths[number].all - 1)
            let own = logprobs.dropFirst(lengths[number].prompt - 1)
            sums[number % 2][0] -= own.reduce(0, +)
            sums[number % 2][1] += Double(own.count)
        }
        let report = try eval(["--model", "base", "--data", "valid.jsonl"])["model"]
        for (name, sum) in zip(["perplexity_chosen", "perplexity_rejected"], sums) {
            let expected = exp(sum[0] / sum[1])
            #expect(abs((report?[name]?.double ?? .nan) / expected - 1) < 1e-5, "\(name)")
        }
        #expect(report?["perplexity_tokens"]?.double == sums[0][1] + sums[1][1])
    }

    @Test(arguments: [
        (#"{"prompt": [{"role": "user", "content": "Hi"}]}"#, nil),
        (
            #"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]}"#,
            "perplexity"
        ),
        (#"{"prompt": "<user>Hi<|endoftext|><assistant>", "completion": "Yes."}"#, "perplexity"),
        (
            #"{"prompt": [{"role": "user", "content": "Hi"}], "completions": [[{"role": "assistant", "content": "No."}], [{"role": "assistant", "content": "Yes."}]], "scores": [1, 2]}"#,
            "perplexity"
        ),
        (#"{"prompt": "Hi", "completions": ["a", "b", "c"], "scores": [1, 2, 3]}"#, "perplexity"),
        (#"{"prompt": "Hi", "chosen": " a", "rejected": " b"}"#, "perplexity_rejected"),
        (#"{"prompt": "Hi", "completion": "a", "label": false}"#, "perplexity"),
    ])
    func rowsOfAllKinds(_ row: String, _ perplexity: String?) throws {
        try folder.write("rows.jsonl", row + "\n" + row + "\n")
        let report = try eval([
            "--model", "base", "--data", "rows.jsonl", "--rewards", "rewards.json",
        ])
        #expect(report["rows"] == 2)
        #expect(report["model"]?["reward"]?.double?.isFinite == true)
        let found = (report["model"]?.object?.keys ?? []).filter { $0.hasPrefix("perplexity") }
        #expect(found.contains { $0 == perplexity } == (perplexity != nil))
        if let perplexity { #expect((report["model"]?[perplexity]?.double ?? 0) > 1) }
    }

    /// Messages are answered as the text that the template makes of them.
    @Test func messagesAreTheTemplatesText() throws {
        let message = #"{"role": "user", "content": "Hi there"}"#
        try folder.write("m.jsonl", #"{"prompt": [\#(message)]}"# + "\n")
        let asked = #"{"messages": [\#(message), {"role": "assistant", "content": "x"}]}"#
        try folder.write("a.jsonl", asked + "\n")
        try folder.write("t.jsonl", #"{"prompt": "<user>Hi there<|endoftext|><assistant>"}"# + "\n")
        try folder.write("o.jsonl", #"{"prompt": "<user>Ho there<|endoftext|><assistant>"}"# + "\n")
        let facts = try ["m", "a", "t", "o"].map { name in
            let own = try eval([
                "--model", "base", "--data", "\(name).jsonl", "--n", "8", "--rewards",
                "rewards.json",
            ])
            return try #require(own["model"]?.object).filter { !$0.key.hasPrefix("perplexity") }.map
            { "\($0)" }
        }
        #expect(facts[0] == facts[2] && facts[1] == facts[2] && facts[3] != facts[2])
    }

    @Test func textsHaveAPerplexity() throws {
        try folder.write("t.jsonl", #"{"text": "a b c d e f g"}"# + "\n")
        let report = try eval(["--model", "base", "--data", "t.jsonl", "--against", "base"])
        #expect(
            report["model"]?.object?.keys == ["name", "path", "perplexity", "perplexity_tokens"])
        #expect(report["against"] == report["model"] && report["rows"] == nil)
    }

    @Test(arguments: [
        (
            ["--model", "none", "--data", "valid.jsonl"],
            """
            error[model]: no such folder
              at:  none
              fix: name a folder with config.json and model.safetensors, or an adapter's
            """, ExitCode.noInput
        ),
        (
            ["--model", "base", "--data", "valid.jsonl", "--out", "no/eval.json"],
            """
            error[eval]: the folder for the result does not exist
              at:  no/eval.json
              fix: make it first, or name another --out
            """, .cannotCreate
        ),
        (
            ["--model", "base", "--data", "none.jsonl"],
            """
            error[data]: the data file does not exist
              at:  none.jsonl
              fix: check the path
            """, .noInput
        ),
        (
            ["--model", "base", "--data", "bad.jsonl"],
            """
            error[data]: the row has no "prompt"; found "promt"
              at:  bad.jsonl:2
              fix: rename "promt" to "prompt", or set "columns": {"prompt": "promt"} in "data"
            """, .badData
        ),
        (
            ["--model", "base", "--data", "valid.jsonl", "--rewards", "none.json"],
            """
            error[config]: cannot read the file: No such file or directory
              at:  none.json
              fix: check the path
            """, .noInput
        ),
        (
            ["--model", "orphan", "--data", "valid.jsonl"],
            """
            error[model]: the adapter's model "gone" is no folder here
              at:  orphan/adapter_config.json, key base_model_name_or_path
              fix: name it: --model DIR, and --adapter orphan
            """, .noInput
        ),
        (
            ["--model", "orphan2", "--adapter", "orphan", "--data", "valid.jsonl"],
            """
            error[model]: --model is an adapter itself, and another one is given
              at:  orphan2
              fix: name the model below: --model DIR, or merge the first adapter: keel model merge
            """, .usage
        ),
    ])
    func mistakes(_ arguments: [String], _ errors: String, _ code: ExitCode) throws {
        try folder.write("bad.jsonl", "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n")
        for name in ["orphan", "orphan2"] {
            try folder.write("\(name)/adapter_config.json", #"{"base_model_name_or_path": "gone"}"#)
        }
        let outcome = try keel(["eval", "--max-new-tokens", "2"] + arguments, in: folder.path)
        #expect(outcome.errors == errors + "\n")
        #expect(outcome.code == code.rawValue && outcome.output == "")
    }

    @Test func messagesWithoutATemplate() throws {
        for name in ["chat_template.jinja", "tokenizer_config.json"] {
            try Files.remove(folder.path("base/\(name)"))
        }
        try folder.write("m.jsonl", #"{"prompt": [{"role": "user", "content": "Hi"}]}"# + "\n")
        let outcome = try keel(["eval", "--model", "base", "--data", "m.jsonl"], in: folder.path)
        #expect(
            outcome.errors == """
                error[data]: the row holds messages, and the model's folder has no chat template
                  at:  m.jsonl:1
                  fix: name one: "chat_template": "FILE.jinja" in "data"; or store plain texts

                """)
        #expect(outcome.code == KeelCore.ExitCode.badData.rawValue)
    }
}
