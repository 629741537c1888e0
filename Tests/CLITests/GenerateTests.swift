import Foundation
import Glibc
import KeelCore
import KeelTestSupport
import Testing

@Suite struct GenerateTests {
    let work: TrainingFolder

    init() throws {
        work = try TrainingFolder()
        try work.folder.write(
            "base/chat_template.jinja",
            "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
                + "{% if add_generation_prompt %}<assistant>{% endif %}")
        try work.folder.write("prompts.jsonl", TrainingFolder.preferences(12))
        try work.folder.write(
            "rewards.json",
            """
            { "rewards": [ { "plugin": "length", "params": { "target": 30 }, "weight": 2 },
                           { "plugin": "repetition", "name": "dull" } ] }
            """)
    }

    private func generate(_ arguments: [String], input: String = "") throws -> Outcome {
        try keel(["generate", "--model", "base"] + arguments, in: work.folder.path, input: input)
    }

    private func lines(_ arguments: [String], input: String = "") throws -> [JSON] {
        let outcome = try generate(arguments + ["--json"], input: input)
        try #require(outcome.code == 0, "\(outcome.errors)")
        return try outcome.output.split(separator: "\n").map { try JSON.parse(String($0)) }
    }

    private static let many = ["--prompts", "prompts.jsonl", "--n", "3", "--max-new-tokens", "20"]

    /// Neither what runs beside a text nor how much fits into the cache changes it.
    @Test func batchesAndRoomChangeNothing() throws {
        let whole = try generate(GenerateTests.many + ["--json"])
        try #require(whole.code == 0, "\(whole.errors)")
        #expect(Set(whole.output.split(separator: "\n")).count == 36)
        for other in [
            ["--batch-size", "1"], ["--batch-size", "7"], ["--cache-tokens", "96"], [],
        ] {
            #expect(try generate(GenerateTests.many + ["--json"] + other).output == whole.output)
        }
    }

    @Test func aStopStringEndsTheText() throws {
        let free = try lines(GenerateTests.many)
        let text = try #require(free[0]["completion"]?.string)
        // Somewhere in the middle, whatever the random model said.
        let letters = Array(text)
        let stop = String(letters[letters.count / 2..<letters.count / 2 + 2])
        let stopped = try lines(GenerateTests.many + ["--stop", stop, "--stop", "never said"])
        var ended = 0
        for (a, b) in zip(free, stopped) {
            let whole = a["completion"]?.string ?? ""
            let cut = b["completion"]?.string ?? ""
            let ids = b["completion_ids"]?.array ?? []
            let all = a["completion_ids"]?.array ?? []
            #expect(Array(all.prefix(ids.count)) == ids)
            #expect(b["logprobs"]?.array?.count == ids.count)
            if let range = whole.range(of: stop, options: .literal) {
                #expect(cut == String(whole[..<range.lowerBound]))
                #expect(b["finish_reason"] == "stop")
                ended += 1
            } else {
                #expect(cut == whole && b["finish_reason"] == a["finish_reason"])
            }
        }
        #expect(ended > 0)
    }

    @Test func moreIDsCanEndATextAndNoneTooEarly() throws {
        let free = try lines(GenerateTests.many + ["--ignore-eos"])
        let end = try #require(free[0]["completion_ids"]?[2]?.int)
        let some = try lines(GenerateTests.many + ["--ignore-eos", "--eos", "\(end)"])
        #expect(some[0]["finish_reason"] == "eos")
        #expect(some[0]["completion_ids"]?.array?.count == 3)
        let late = try lines(
            GenerateTests.many + ["--ignore-eos", "--eos", "\(end)", "--min-new-tokens", "3"])
        #expect(late[0]["completion_ids"]?.array?[2] != JSON(end))
    }

    // MARK: Best of n

    @Test func theBestOfEachPromptIsARowToTrainOn() throws {
        let scored = GenerateTests.many + ["--rewards", "rewards.json"]
        let all = try lines(scored)
        let best = try lines(scored + ["--keep", "best"])
        #expect(all.count == 36 && best.count == 12)
        for (number, row) in best.enumerated() {
            let group = all[3 * number..<3 * number + 3]
            #expect(row["reward"]?.double == group.compactMap { $0["reward"]?.double }.max())
            #expect(group.contains(row))
            #expect(row["chosen"] != nil, "what the prompt's row says stays")
            let parts = row["rewards"]
            let sum = 2 * (parts?["length"]?.double ?? 0) + (parts?["dull"]?.double ?? 0)
            #expect(abs(sum - (row["reward"]?.double ?? 0)) < 1e-6)
        }
        // The same texts as without rewards.
        #expect(
            try lines(GenerateTests.many).map { $0["completion"] } == all.map { $0["completion"] })

        let rows = best.map { row -> String in
            var row = row.object ?? [:]
            for key in ["chosen", "rejected"] { row[key] = nil }
            return JSON.object(row).text() + "\n"
        }
        try work.folder.write("best.jsonl", rows.joined())
        try work.folder.write(
            "sft.json",
            """
            { "model": { "path": "base" }, "data": { "train": "best.jsonl" }, "objective": { "plugin": "sft" },
              "train": { "max_steps": 2, "per_device_train_batch_size": 4 }, "output_dir": "run" }
            """)
        let trained = try keel(["train", "sft.json"], in: work.folder.path)
        #expect(trained.code == 0, "\(trained.errors)")
    }

    // MARK: Chat

    @Test func messagesGoThroughTheTemplate() throws {
        let rendered = try keel(
            ["tokenize", "--model", "base", "--chat"], in: work.folder.path,
            input: """
                {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}], "add_generation_prompt": true}
                {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true}

                """)
        let want = try rendered.output.split(separator: "\n").map {
            try #require(try JSON.parse(String($0))["ids"])
        }
        let short = ["--max-new-tokens", "5"]
        let piped = try lines(["--chat", "--system", "S"] + short, input: "Hi\n")
        let given = try lines(["--chat", "--system", "S", "--prompt", "Hi"] + short)
        #expect(piped == given)
        #expect(given[0]["prompt_ids"] == want[0])
        try work.folder.write(
            "chat.jsonl",
            """
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "left out"}], "topic": "t"}
            {"prompt": [{"role": "user", "content": "Hi"}]}
            """)
        let rows = try lines(["--prompts", "chat.jsonl"] + short)
        #expect(rows.map { $0["prompt_ids"] } == [want[1], want[1]])
        #expect(rows[0]["prompt"] == [["role": "user", "content": "Hi"]])
        #expect(rows[0]["completion"]?[0]?["role"] == "assistant")
    }

    // MARK: What is refused

    @Test(arguments: [
        (["--prompt", "a", "--keep", "best"], "--keep without --rewards"),
        (["--prompt", "a", "--system", "S"], "--system without --chat"),
        (["--chat", "--prompt-ids", "[1]"], "--chat with --prompt-ids"),
        (["--prompt", "a", "--stop", ""], "--stop with an empty text"),
        (
            ["--prompt", "a", "--eos", "no such token"],
            "--eos no such token is no token of the model"
        ),
        (
            ["--prompt", "a", "--min-new-tokens", "9", "--max-new-tokens", "8"],
            "--min-new-tokens 9 is above --max-new-tokens 8"
        ),
        ([], "no prompt"),
        (["--prompt", "a", "--prompts", "prompts.jsonl"], "several kinds of prompts"),
    ])
    func wrongUse(arguments: [String], what: String) throws {
        let outcome = try generate(arguments)
        #expect(outcome.code == ExitCode.usage.rawValue)
        #expect(outcome.errors.hasPrefix("error[usage]: \(what)\n"), "\(outcome.errors)")
    }

    @Test(arguments: [
        ("--batch-size", "9223372036854775807", "65536"), ("--n", "4611686018427387904", "1000000"),
        ("--max-new-tokens", "9223372036854775807", "1000000000"),
        ("--cache-tokens", "9223372036854775807", "1000000000"),
        ("--threads", "1000000000", "4096"),
    ])
    func numbersHaveAnEnd(option: String, number: String, most: String) throws {
        let outcome = try generate(["--prompt", "a", option, number])
        #expect(outcome.code == ExitCode.usage.rawValue)
        #expect(
            outcome.errors.contains("\(option) must be from 1 to \(most)."), "\(outcome.errors)")
    }

    @Test func promptsThatDoNotFitAreNamed() throws {
        let long = JSON.array((0..<128).map { _ in JSON(5) }).text()
        try work.folder.write(
            "long.jsonl",
            "{\"prompt_ids\": [1]}\n{\"prompt_ids\": \(long)}\n{\"prompt_ids\": \(long)}\n")
        let outcome = try generate(["--prompts", "long.jsonl"])
        #expect(outcome.code == ExitCode.badData.rawValue)
        #expect(
            outcome.errors == """
                error[data]: the prompt has 128 tokens, and fills the model's context of 128 (and so do 1 other prompts)
                  at:  long.jsonl:2
                  fix: shorten the prompt

                """)
        #expect(outcome.output == "")
    }

    @Test func aCacheThatIsTooSmall() throws {
        let outcome = try generate(["--prompt", "a", "--cache-tokens", "20"])
        #expect(outcome.code == ExitCode.badData.rawValue)
        #expect(outcome.errors.contains("tokens of the cache, which holds 20"))
    }

    @Test func aFolderWithoutATemplate() throws {
        for name in ["chat_template.jinja", "tokenizer_config.json"] {
            try Files.remove(work.path("base/\(name)"))
        }
        let outcome = try generate(["--chat", "--prompt", "a"])
        #expect(outcome.code == ExitCode.noInput.rawValue)
        #expect(
            outcome.errors == """
                error[generate]: messages need a chat template, and the model's folder has none
                  at:  --chat, base
                  fix: add chat_template.jinja to the folder, or give the prompt as a text

                """)
    }

    // MARK: On a terminal

    /// Runs `keel generate` with a terminal for its input and output; returns what the terminal shows.
    private func onTerminal(_ arguments: [String], typed: [String] = []) throws -> String {
        // What posix_openpt, unlockpt and ptsname do.
        let main = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        defer { close(main) }
        var (lock, number): (Int32, Int32) = (0, -1)
        let isReady =
            main >= 0 && ioctl(main, UInt(0x4004_5431), &lock) == 0
            && ioctl(main, UInt(0x8004_5430), &number) == 0
        try #require(isReady)
        let side = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
        try #require(side >= 0)
        // Without an echo, what is read back is what the program wrote.
        var mode = termios()
        tcgetattr(side, &mode)
        mode.c_lflag &= ~UInt32(ECHO)
        mode.c_oflag &= ~UInt32(OPOST)
        tcsetattr(side, TCSANOW, &mode)
        let process = try keelProcess(
            ["generate", "--model", "base"] + arguments, in: work.folder.path, streams: ".tty")
        let handle = FileHandle(fileDescriptor: side)
        process.standardInput = handle
        process.standardOutput = handle
        try process.run()
        for line in typed { _ = (line + "\n").withCString { write(main, $0, strlen($0)) } }
        process.waitUntilExit()
        // The terminal keeps what was written, up to a page: the tests write less.
        _ = fcntl(main, F_SETFL, O_NONBLOCK)
        var shown: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4096)
        while case let count = read(main, &block, block.count), count > 0 {
            shown += block[..<count]
        }
        close(side)
        #expect(process.terminationStatus == 0)
        return String(decoding: shown, as: UTF8.self)
    }

    @Test func aTerminalShowsWhatAFileGets() throws {
        let one = ["--prompt", "Tell me", "--max-new-tokens", "60", "--seed", "7", "--n", "3"]
        let plain = try generate(one)
        try #require(plain.code == 0, "\(plain.errors)")
        #expect(try onTerminal(one) == plain.output)
    }

    @Test func aConversationIsRemembered() throws {
        let shown = try onTerminal(
            ["--chat", "--max-new-tokens", "4", "--ignore-eos", "--sampler", "greedy"],
            typed: ["Hi", "", "/reset", "Hi", "again", "/exit"])
        let answers = shown.components(separatedBy: "> ").dropFirst()
        // Nothing is said to an empty line and to a command.
        #expect(answers.count == 6)
        let parts = Array(answers)
        #expect(parts[0] == parts[3] && !parts[0].isEmpty, "\(shown)")
        // The second answer knows what was said first.
        let first = parts[3].dropLast()
        let talk: JSON = [
            [
                ["role": "user", "content": "Hi"],
                ["role": "assistant", "content": .string(String(first))],
                ["role": "user", "content": "again"],
            ]
        ]
        try work.folder.write("talk.jsonl", JSON.object(["prompt": talk[0] ?? .null]).text())
        let again = try lines([
            "--max-new-tokens", "4", "--ignore-eos", "--sampler", "greedy", "--prompts",
            "talk.jsonl",
        ])
        #expect(again[0]["completion"]?[0]?["content"]?.string.map { $0 + "\n" } == parts[4])
    }
}
