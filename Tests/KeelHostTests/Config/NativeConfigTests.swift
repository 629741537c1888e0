import KeelBridge
import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

/// Rewards that are C functions, as a config names them.
@Suite struct NativeConfigTests {
    let fixture: ConfigFixture

    init() throws {
        fixture = try ConfigFixture()
        try fixture.folder.write(
            "score.c",
            """
            #include <stdint.h>
            int table[4];
            double bleu(const char *a, const char *b, int32_t order) { return a == b ? order : 0; }
            """)
        let status = try Subprocess.run([
            "cc", "-shared", "-fPIC", fixture.folder.path("score.c"), "-o",
            fixture.folder.path("libscore.so"),
        ])
        try #require(status == 0)
    }

    private func entry(_ native: String, _ rest: String = "") -> String {
        """
        {\(ConfigFixture.sections),
          "rewards": [ { "native": \(native)\(rest) } ] }
        """
    }

    private func rewards(_ text: String) throws -> [RunPlugins.Choice] {
        let path = try fixture.folder.write("c.json", text)
        let reader = try ConfigReader(path: path)
        let config = reader.read(RunConfig.self)
        var choices: [RunPlugins.Choice] = []
        for (i, reward) in config.rewards.enumerated() {
            reward.checkSource(at: "rewards.\(i)", reader)
            if let choice = reward.native?.choice(
                params: reward.params, at: "rewards.\(i)", reader)
            {
                choices.append(choice)
            }
        }
        try reader.throwErrors()
        return choices
    }

    /// All errors of an entry, as a user reads them, with the folder's path written `$DIR`.
    private func errors(_ text: String) -> String {
        do {
            _ = try rewards(text)
            return "no error"
        } catch {
            return "\(error)".replacing(fixture.folder.path, with: "$DIR")
        }
    }

    private let bleu =
        "{ \"library\": \"libscore.so\", \"symbol\": \"bleu\", \"signature\": \"f64(str response, str field:/reference, i32 param:order)\" }"

    @Test func aFunctionIsFoundBesideTheConfig() throws {
        let choice = try #require(
            try rewards(entry(bleu, ", \"params\": {\"order\": 4}")).first)
        #expect(choice.component.path == fixture.folder.path("libscore.so"))
        #expect(choice.component.native?.symbol == "bleu")
        #expect(choice.parameters.values == ["order": 4])
        let config = try fixture.load(entry(bleu, ", \"params\": {\"order\": 4}"))
        #expect(config.rewards[0].shownName == "bleu")
        #expect(
            try fixture.load(entry(bleu, ", \"name\": \"b\"")).rewards[0].shownName == "b")
    }

    @Test func aLibraryOfTheSystemIsFoundByName() throws {
        let choice = try #require(
            try rewards(
                entry(
                    "{\"library\": \"libm.so.6\", \"symbol\": \"cos\", \"signature\": \"f64(f64 field:/x)\"}"
                )
            ).first)
        #expect(choice.component.path.hasSuffix("/libm.so.6"))
    }

    static let bad: [(native: String, rest: String, expected: String)] = [
        (
            "{ \"library\": \"libscore.so\", \"symbol\": \"bleu\", \"signature\": \"double(str respnse, str prompt\" }",
            "",
            """
            error[config]: rewards[0].native.signature, character 1: "double" is no type that a function returns
              at:  $DIR/c.json:3:74, key rewards[0].native.signature
              fix: did you mean "f64"? types: f64, f32, i64, i32, bool, void
            error[config]: rewards[0].native.signature, character 12: "respnse" is no source
              at:  $DIR/c.json:3:74, key rewards[0].native.signature
              fix: did you mean "response"? sources: prompt, response, row, tokens, field:/POINTER, param:NAME; rows and out in the batch form
            error[config]: rewards[0].native.signature, character 31: the signature ends without ")"
              at:  $DIR/c.json:3:74, key rewards[0].native.signature
              fix: close the list of arguments
            """
        ),
        (
            "{ \"library\": \"libscore.so\", \"symbol\": \"blue\", \"signature\": \"f64(i32 param:order)\" }",
            ", \"params\": {\"ordr\": 4, \"order\": \"four\"}",
            """
            error[config]: libscore.so exports no function "blue"
              at:  $DIR/c.json:3:56, key rewards[0].native.symbol: $DIR/libscore.so
              fix: did you mean "bleu"?
            error[native]: the signature of native function "blue" does not use the parameter "ordr"
              at:  $DIR/c.json:3:124, key rewards[0].params.ordr
              fix: did you mean "order"? it uses: order
            error[native]: parameter "order" of native function "blue" is "four", but its signature takes an integer of 32 bits
              at:  $DIR/c.json:3:135, key rewards[0].params.order
              fix: give it an integer of 32 bits, or change its type
            """
        ),
        (
            "{ \"library\": \"libscor.so\", \"symbol\": \"bleu\", \"signature\": \"f64()\" }", "",
            """
            error[config]: rewards[0].native.library: no such library: libscor.so
              at:  $DIR/c.json:3:30, key rewards[0].native.library
              fix: did you mean "libscore.so" beside it?
            """
        ),
        (
            "{ \"library\": \"libz9.so.1\", \"symbol\": \"bleu\", \"signature\": \"f64()\" }", "",
            """
            error[config]: rewards[0].native.library: no such library: libz9.so.1
              at:  $DIR/c.json:3:30, key rewards[0].native.library
              fix: check the path, relative to the config file; or give a name that the loader knows (libm.so.6)
            """
        ),
        (
            "{ \"library\": \"train.jsonl\", \"symbol\": \"bleu\", \"signature\": \"f64()\" }", "",
            """
            error[config]: train.jsonl is not a shared library (no ELF header)
              at:  $DIR/c.json:3:30, key rewards[0].native.library: $DIR/train.jsonl
              fix: name the library itself (a file such as libm.so can be a text that names it: libm.so.6)
            """
        ),
        (
            "{ \"library\": \"libscore.so\", \"symbol\": \"table\", \"signature\": \"f64()\" }", "",
            """
            error[config]: "table" of libscore.so is data, not a function
              at:  $DIR/c.json:3:56, key rewards[0].native.symbol: $DIR/libscore.so
              fix: name a function
            """
        ),
        (
            "{ \"library\": \"libscore.so\", \"signatur\": \"f64()\" }", "",
            """
            error[config]: unknown key "signatur"
              at:  $DIR/c.json:3:56, key rewards[0].native.signatur
              fix: did you mean "signature"?
            error[config]: rewards[0].native.symbol is missing: the function's name in the library
              at:  $DIR/c.json:3:18, key rewards[0].native.symbol
              fix: add "symbol": "..." (a string) to "native"
            error[config]: rewards[0].native.signature is missing: what it returns and takes: RETURN(TYPE SOURCE, ...), as f64(str response, str field:/reference)
              at:  $DIR/c.json:3:18, key rewards[0].native.signature
              fix: add "signature": "..." (a string) to "native"
            """
        ),
        (
            "{ \"library\": \"libscore.so\", \"symbol\": \"\", \"signature\": \"f64()\" }", "",
            """
            error[config]: rewards[0].native.symbol is empty
              at:  $DIR/c.json:3:56, key rewards[0].native.symbol
              fix: give it a string
            """
        ),
        (
            "{ \"library\": \"libscore.so\", \"symbol\": \"bleu\", \"signature\": \"f64()\" }",
            ", \"plugin\": \"length\", \"run\": {\"isolate\": \"none\"}",
            """
            error[config]: rewards[0] has both "plugin" and "native"
              at:  $DIR/c.json:3:18, key rewards[0].native
              fix: keep one of them
            error[config]: rewards[0].run.isolate is "none", but a native function always runs in a worker
              at:  $DIR/c.json:3:126, key rewards[0].run.isolate
              fix: remove it: a signature that does not fit the function would end the run
            """
        ),
        (
            "null", ", \"weight\": 1",
            """
            error[config]: rewards[0] names no reward
              at:  $DIR/c.json:3:3, key rewards[0]
              fix: add "plugin": "..." (a plugin's name or path), or "native": {...}
            """
        ),
    ]

    @Test(arguments: 0..<bad.count) func whatIsWrongIsToldInOneGo(_ number: Int) {
        let (native, rest, expected) = NativeConfigTests.bad[number]
        #expect(errors(entry(native, rest)) == expected)
    }
}
