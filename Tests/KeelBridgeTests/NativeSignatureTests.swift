import KeelCore
import Testing

@testable import KeelBridge

@Suite struct NativeSignatureTests {
    /// Text, how it is read, and the C function it describes.
    static let good: [(text: String, plain: String, declaration: String)] = [
        (
            "f64(str response, str field:/reference, i32 param:order)",
            "f64(str response, str field:/reference, i32 param:order)",
            "double bleu(const char *response, const char *reference, int32_t order)"
        ),
        (
            "  bool ( buf   prompt,buf tokens )", "bool(buf prompt, buf tokens)",
            "_Bool bleu(const char *prompt, size_t prompt_length, const int32_t *tokens, size_t tokens_count)"
        ),
        (
            "void(strs response, strs field:/a/b, size rows, f32 out, f64 param:p, str param:lang)",
            "void(strs response, strs field:/a/b, size rows, f32 out, f64 param:p, str param:lang)",
            "void bleu(const char *const *response, const char *const *b, size_t rows, float *out, double p, const char *lang)"
        ),
        ("i64()", "i64()", "int64_t bleu(void)"),
        (
            "f32(f64 field:/score.x, i64 field:/0, f32 field:/~1y, str row)",
            "f32(f64 field:/score.x, i64 field:/0, f32 field:/~1y, str row)",
            "float bleu(double score_x, int64_t _0, float _1y, const char *row)"
        ),
        (
            "i32(str field:'/a, (b)', str field:\"/it's\")",
            "i32(str field:'/a, (b)', str field:/it's)",
            "int32_t bleu(const char *a___b_, const char *it_s)"
        ),
        (
            "void(size rows, strs prompt, f64 out)", "void(size rows, strs prompt, f64 out)",
            "void bleu(size_t rows, const char *const *prompt, double *out)"
        ),
    ]

    @Test(arguments: good) func whatIsWrittenIsRead(
        _ one: (text: String, plain: String, declaration: String)
    ) throws {
        let signature = try NativeSignature(one.text)
        #expect(signature.text == one.plain)
        #expect(try NativeSignature(signature.text) == signature)
        #expect(signature.declaration(of: "bleu") == one.declaration)
    }

    @Test func theWorkerReadsLines() throws {
        let signature = try NativeSignature("f64(str response, str field:'/a, b', i32 param:order)")
        #expect(signature.lines == "f64\nstr response\nstr field:/a, b\ni32 param:order")
        #expect(signature.parameters.map(\.name) == ["order"])
        #expect(!signature.isBatch)
    }

    private static let sources =
        "sources: prompt, response, row, tokens, field:/POINTER, param:NAME; rows and out in the batch form"
    private static let kinds = "types: str, buf, f64, f32, i64, i32, strs, size"

    /// Text, and `position: what; fix` of each mistake.
    static let bad: [(String, [String])] = [
        (
            "",
            [
                "1: the signature ends without \"(\"; write RETURN(TYPE SOURCE, ...), for example f64(str response, str field:/reference)"
            ]
        ),
        (
            "f64 str response",
            [
                "5: a \"(\" is missing here; write RETURN(TYPE SOURCE, ...), for example f64(str response, str field:/reference)"
            ]
        ),
        (
            "double(str respnse, strng prompt)",
            [
                "1: \"double\" is no type that a function returns; did you mean \"f64\"? types: f64, f32, i64, i32, bool, void",
                "12: \"respnse\" is no source; did you mean \"response\"? \(sources)",
                "21: \"strng\" is no type of an argument; did you mean \"str\"? \(kinds)",
            ]
        ),
        (
            "str(str response)",
            [
                "1: a function that returns str gives no score; a score is a number: f64, f32, i64, i32 or bool"
            ]
        ),
        (
            "f64(response, str)",
            [
                "5: \"response\" is no type of an argument; write the type before it: str response",
                "18: the argument has no source; \(sources)",
            ]
        ),
        (
            "f64(str response, )",
            ["19: an argument is missing; write TYPE SOURCE, or leave the comma out"]
        ),
        (
            "f64(str response",
            ["17: the signature ends without \")\"; close the list of arguments"]
        ),
        (
            "f64(str response) const",
            ["19: something follows the closing parenthesis; end the signature there"]
        ),
        (
            "f64(str response str prompt)",
            ["18: \"s\" is not expected here; write a comma between arguments"]
        ),
        (
            "f64(str field:answer, i32 param:, str field)",
            [
                "15: \"answer\" is no JSON pointer; write field:/answer",
                "27: \"param:\" names no parameter; write param:NAME for a key of \"params\"",
                "39: \"field\" is no source; write field:/NAME for the field NAME of the row",
            ]
        ),
        (
            "f64(str field:'/a)", ["15: the quotation does not end; close it with '"]
        ),
        (
            "f64(f64 response, str tokens, i32 tokens, size response, str rows, i32 out)",
            [
                "5: response is no number; write str response",
                "19: token ids are no text; write buf tokens",
                "31: tokens is no number; write buf tokens",
                "48: size takes the number of rows only; write size rows",
                "58: rows is a size; write size rows",
                "68: scores are not written as i32; write f32 out",
            ]
        ),
        (
            "f64(strs response, size rows, f32 out)",
            [
                "5: strs response belongs to the batch form; return void to be called once for a batch, or take one row: f64(str response)",
                "20: size rows belongs to the batch form; return void to be called once for a batch, or take one row: f64(str response)",
                "31: f32 out belongs to the batch form; return void to be called once for a batch, or take one row: f64(str response)",
            ]
        ),
        (
            "void(str response, strs param:x)",
            [
                "1: a function that returns void has nowhere to put its scores; add the argument f32 out, or return f64",
                "1: the function is not told how many rows there are; add the argument size rows",
                "6: str response is one row's, but void(...) takes a batch; write strs response, or return f64 to be called once for each row",
                "20: a parameter is the same for all rows; write str param:x",
            ]
        ),
        (
            "void(size rows, f32 out, f64 out)",
            [
                "1: the function sees nothing of the rows; add the argument strs response",
                "26: the scores have two places; keep one f32 out",
            ]
        ),
        (
            "f64(i32 param:n, str param:n)",
            ["18: parameter \"n\" is both a text and a number; use two parameters"]
        ),
    ]

    @Test(arguments: bad) func mistakesAreNamedWithTheirPlaceAllAtOnce(
        _ text: String, _ expected: [String]
    ) {
        #expect(throws: NativeSignature.Problems.self) { try NativeSignature(text) }
        do throws(NativeSignature.Problems) {
            _ = try NativeSignature(text)
        } catch {
            #expect(error.list.map { "\($0.position): \($0.what); \($0.fix)" } == expected)
        }
    }

    @Test func thereIsAnEndToArguments() {
        let many = Array(repeating: "str prompt", count: 33).joined(separator: ",")
        do throws(NativeSignature.Problems) {
            _ = try NativeSignature("f64(\(many))")
            Issue.record("33 arguments were taken")
        } catch {
            #expect(error.list.map(\.what) == ["there are 33 arguments"])
            #expect(error.list.map(\.position) == [5 + 32 * 11])
        }
    }

    /// Whatever stands there, the parser ends with a signature or with mistakes inside of the text.
    @Test func anyTextEnds() {
        let stream = RandomStream(seed: 5, place: "signatures")
        let words = [
            "f64", "(", ")", ",", " ", "str", "response", "field:", "/a", "param:", "n", "'", "\"",
            "void", "strs", "size", "rows", "out", "f32", "tokens", ".", "é",
        ]
        for round in 0..<3000 {
            let count = Int(stream.below(14, UInt64(round * 100)))
            let text = (0..<count).map { (place: Int) -> String in
                let number = UInt64(round * 100 + place + 1)
                return words[Int(stream.below(UInt64(words.count), number))]
            }.joined()
            do throws(NativeSignature.Problems) {
                _ = try NativeSignature(text)
            } catch {
                #expect(!error.list.isEmpty)
                #expect(
                    error.list.allSatisfy { (1...text.count + 1).contains($0.position) }, "\(text)")
            }
        }
    }
}
