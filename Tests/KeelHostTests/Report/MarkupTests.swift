import Testing

@testable import KeelHost

@Suite struct MarkupTests {
    @Test(arguments: [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("\" onload='x' & <", "&quot; onload=&#39;x&#39; &amp; &lt;"),
        ("a\u{0}b\u{1B}[31m\r", "a\u{2400}b\u{241B}[31m\u{240D}"),
        ("evil\u{202E}txt.exe", "evil\u{27E8}U+202E\u{27E9}txt.exe"),
        (
            "\u{FFFE}\u{9B}\u{200F}",
            "\u{27E8}U+FFFE\u{27E9}\u{27E8}U+009B\u{27E9}\u{27E8}U+200F\u{27E9}"
        ),
        ("żółć 你好 \u{1F600}\n\t.", "żółć 你好 \u{1F600}\n\t."),
    ])
    func foreignTextIsHarmless(_ text: String, _ expected: String) {
        #expect(Markup.escape(text) == expected)
    }

    @Test(arguments: [
        (1.0, "1"), (1.5, "1.5"), (-0.004, "0"), (12.345, "12.35"), (-3.05, "-3.05"), (0.1, "0.1"),
        (-0.5, "-0.5"),
    ])
    func places(_ x: Double, _ expected: String) {
        #expect(Markup.place(x) == expected)
    }
}
